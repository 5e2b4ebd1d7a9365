"""The network: ResNet50 with a head of our own."""
