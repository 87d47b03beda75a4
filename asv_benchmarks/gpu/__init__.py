"""numclip on a GPU: the processor's bits, and how fast."""
