"""The toy models of visually guided insertion, and the ablation that explains them."""
