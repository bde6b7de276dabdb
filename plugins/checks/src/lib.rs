//! Nothing but tests: the contract in `wit/` is valid, and each built component asks for exactly what its table says.
