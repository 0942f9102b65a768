"""Steps of ladders that are whole algorithms: what kernels cannot show, as they all compute the same sums."""
