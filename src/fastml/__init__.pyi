from fastml._dispatch import backend as backend
from fastml._dispatch import set_backend as set_backend
from fastml._threads import get_num_threads as get_num_threads
from fastml._threads import set_num_threads as set_num_threads
from fastml.estimators.incremental_pca import IncrementalPCA as IncrementalPCA
from fastml.estimators.pca import PCA as PCA
from fastml.estimators.standard_scaler import StandardScaler as StandardScaler
from fastml.estimators.truncated_svd import TruncatedSVD as TruncatedSVD
from fastml.layers.conv2d import Conv2d as Conv2d
from fastml.ops.avg_pool2d import avg_pool2d as avg_pool2d
from fastml.ops.avg_pool2d_backward import avg_pool2d_backward as avg_pool2d_backward
from fastml.ops.batch_norm import batch_norm as batch_norm
from fastml.ops.batch_norm_backward import BatchNormGradients as BatchNormGradients
from fastml.ops.batch_norm_backward import batch_norm_backward as batch_norm_backward
from fastml.ops.conv2d import conv2d as conv2d
from fastml.ops.conv2d_backward import Conv2dGradients as Conv2dGradients
from fastml.ops.conv2d_backward import conv2d_backward as conv2d_backward
from fastml.ops.explain import configuration as configuration
from fastml.ops.explain import explain as explain
from fastml.ops.explain import show_config as show_config
from fastml.ops.fold_batch_norm import fold_batch_norm as fold_batch_norm
from fastml.ops.global_avg_pool2d import global_avg_pool2d as global_avg_pool2d
from fastml.ops.max_pool2d import max_pool2d as max_pool2d
from fastml.ops.max_pool2d_backward import max_pool2d_backward as max_pool2d_backward
from fastml.ops.moments import Moments as Moments
from fastml.ops.moments import moments as moments
from fastml.ops.pca import PCAResult as PCAResult
from fastml.ops.pca import pca as pca
from fastml.ops.pca_transform import pca_transform as pca_transform
from fastml.ops.standardize import standardize as standardize

__version__: str
__all__: list[str]
