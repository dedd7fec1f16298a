"""Score distillation: objectives, generators and exporters."""
