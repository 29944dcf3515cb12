kernel: object
