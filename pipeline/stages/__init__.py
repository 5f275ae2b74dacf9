"""The twelve stages, a module each, named as the graph names them."""
