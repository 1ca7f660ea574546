"""Trained weights from anywhere: read, recognized, fitted to a network, and written for others."""
