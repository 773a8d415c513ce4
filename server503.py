"""misbehaving server: modes by port"""
