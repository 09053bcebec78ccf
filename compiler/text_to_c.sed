# Lines of text to a list of C strings, one a line.
s/[\\"]/\\&/g
s/^/"/
s/$/\\n",/
