// Command client writes the methods of the Go client, by the operations of the API.
package main

import (
	"fmt"
	"os"

	"understudy/internal/api"
	"understudy/internal/api/clientgen"
)

func main() {
	_, described := api.New(nil, api.Options{Version: "1"})
	source, err := clientgen.File(described)
	if err == nil && len(os.Args) == 2 {
		err = os.WriteFile(os.Args[1], source, 0o644)
	} else if err == nil {
		_, err = os.Stdout.Write(source)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}
