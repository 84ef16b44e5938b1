// Command mkguest builds the files of the demonstration guest into a folder: `mkguest DIR`, run in the module's folder.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"understudy/internal/demo/guest"
	"understudy/internal/dr"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkguest DIR")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := guest.Build(ctx, os.Args[1], ".", os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		if hint := dr.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}
