// Command ledger is the database of a guest whose recovery points are tested:
//
//	ledger run FILE       append rows to the database in FILE; /run/ledger.acked holds the number of the newest durable one
//	ledger quiesce        make it quiet, for a hook before the freezing; /run/ledger.quiet then holds that number
//	ledger resume         let it go on
//	ledger check FILE     recover and examine a database; with -as-is it is not recovered
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"understudy/internal/demo/guest/ledger"
)

const (
	socket = "/run/ledger.sock"
	acked  = "/run/ledger.acked"
	quiet  = "/run/ledger.quiet"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "run":
		return write(ctx, args[1])
	case len(args) == 1 && args[0] == "quiesce":
		last, err := ledger.Order(ctx, socket, "quiesce")
		if err != nil {
			return err
		}
		return os.WriteFile(quiet, []byte(last), 0o600)
	case len(args) == 1 && args[0] == "resume":
		_, err := ledger.Order(ctx, socket, "resume")
		return err
	case len(args) == 2 && args[0] == "check":
		return check(ctx, args[1], false)
	case len(args) == 3 && args[0] == "check" && args[1] == "-as-is":
		return check(ctx, args[2], true)
	}
	return errors.New("usage: ledger run FILE | quiesce | resume | check [-as-is] FILE")
}

func check(ctx context.Context, file string, asIs bool) error {
	r, err := ledger.Check(ctx, file, asIs)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func write(ctx context.Context, file string) error {
	ack, err := os.Create(acked)
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, file, func(last int64) error {
		_, err := ack.WriteAt([]byte(strconv.FormatInt(last, 10)), 0) // grows only
		return err
	})
	if err != nil {
		return err
	}
	_ = os.Remove(socket)
	at, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		if err := l.Serve(ctx, at); err != nil {
			fmt.Fprintln(os.Stderr, "ledger:", err)
			os.Exit(1)
		}
	}()
	for {
		if err := l.Append(ctx); err != nil {
			return err
		}
	}
}
