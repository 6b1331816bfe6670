"""nearhand"""
