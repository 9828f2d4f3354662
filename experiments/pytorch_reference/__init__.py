"""The method of the paper in PyTorch, as affjax defines it: what affjax is checked by.

`compare_pytorch.py` compares and times the two. PyTorch is in the extra `reference`.
"""
