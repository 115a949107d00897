"""Networks: generators, discriminators and the frozen VGG feature extractor."""
