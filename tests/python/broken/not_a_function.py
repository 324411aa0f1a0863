workflow = 3
