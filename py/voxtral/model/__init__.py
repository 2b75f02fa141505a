"""The network, written once against ops.base.Ops."""
