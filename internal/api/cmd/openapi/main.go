// Command openapi writes the description of the API, OpenAPI 3.1, to standard output. The console's types are made of it.
package main

import (
	"fmt"
	"os"

	"understudy/internal/api"
)

func main() {
	_, described := api.New(nil, api.Options{Version: "1"})
	b, err := described.OpenAPI().MarshalJSON()
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}
