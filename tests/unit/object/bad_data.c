/* Data that is not constant has no place in an object. */
int counter = 1;
