"""Files of integers: one plan of scales, made from samples, inserted into a program, and judged."""
