# The one fused type of the house. Indices are Py_ssize_t, everywhere.
ctypedef fused floating:
    float
    double
