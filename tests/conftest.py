"""Both precisions are first-class: float64 is available in the tests, and no operation may mix types silently."""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
