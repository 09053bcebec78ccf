// An ordinary net/http server; only its listener is one that it was given.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

func main() {
	// Before os.NewFile looks at it: goroutines run while the listener waits.
	if err := syscall.SetNonblock(3, true); err != nil {
		log.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s\n", strings.ToUpper(r.FormValue("q")), strings.ToUpper(string(body)))
	})
	log.Fatal(http.Serve(listener, nil))
}
