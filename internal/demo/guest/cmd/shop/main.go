// Command shop is the demonstration's application. It runs inside the guest, started by /init:
//
//	shop db -dir DIR -listen ADDR -interval D     append records and acknowledge them
//	shop web -db ADDR -dir DIR -listen ADDR       serve the newest record over HTTP
//	shop check FILE                               verify every record of a log
//	shop scribble -disk DEVICE -interval D        overwrite random blocks of a raw disk
//
// Under the name metrics-agent it is the demonstration's extension: `metrics-agent run`, and its handlers detect, status,
// install and remove. One program for both halves what the guest loads.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"understudy/internal/demo/guest/metrics"
	"understudy/internal/demo/guest/shop"
)

func main() {
	if filepath.Base(os.Args[0]) == metrics.Name {
		if err := agent(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, metrics.Name+":", err)
			os.Exit(1)
		}
		return
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		say("shop: %v", err)
		os.Exit(1)
	}
}

// say writes a line on the serial console and, where there is one, on the screen.
func say(format string, args ...any) {
	line := fmt.Sprintf("understudy-guest: "+format+"\n", args...)
	fmt.Print(line)
	if screen, err := os.OpenFile("/dev/tty0", os.O_WRONLY, 0); err == nil {
		fmt.Fprint(screen, line)
		screen.Close()
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: shop db|web|check|scribble [flags]")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := flags.String("dir", "/data", "folder of the records or of the access log")
	listen := flags.String("listen", "", "address to listen on")
	db := flags.String("db", "", "address of the database")
	disk := flags.String("disk", "", "raw disk to overwrite")
	fsck := flags.String("fsck", "", "what the file-system check at boot found")
	interval := flags.Duration("interval", 50*time.Millisecond, "time between writes; 0 for none")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "db":
		return serveDB(ctx, *dir, *listen, *fsck, *interval)
	case "web":
		return serveWeb(ctx, *dir, *listen, *db)
	case "check":
		return check(flags.Arg(0))
	case "scribble":
		say("role=write ready")
		return shop.Scribble(ctx, *disk, *interval)
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// agent runs the metrics agent or one of its handlers.
func agent(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: metrics-agent run|detect|status|install|remove")
	}
	a := metrics.Agent{Dir: "/data/" + metrics.Name, PIDFile: "/run/" + metrics.Name + ".pid", Program: []string{"/bin/" + metrics.Name, "run"}}
	if args[0] == "run" {
		return a.Run(ctx)
	}
	return a.Handle(args[0], os.Stdin, os.Stdout)
}

func serveDB(ctx context.Context, dir, listen, fsck string, interval time.Duration) error {
	log, rep, err := shop.OpenLog(filepath.Join(dir, "records"))
	if err != nil {
		return err
	}
	defer log.Close()
	// The file's name must be as durable as what it holds.
	if d, err := os.Open(dir); err == nil {
		err = errors.Join(d.Sync(), d.Close())
		if err != nil {
			return err
		}
	}
	rep.Fsck, rep.Booted = fsck, time.Now().UTC().Format(time.RFC3339Nano)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	state := "ready"
	if !rep.OK() {
		state = "damaged"
	}
	say("role=db %s records=%d torn=%d first-bad=%d", state, rep.Records, rep.Torn, rep.FirstBad)
	s := shop.NewDB(log, rep)
	go func() {
		// What is durable stays readable when nothing can be added.
		err := s.Run(ctx, interval)
		say("shop: append: %v", err)
	}()
	return s.Serve(ctx, l)
}

func serveWeb(ctx context.Context, dir, listen, db string) error {
	log, err := os.OpenFile(filepath.Join(dir, "access.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	say("role=web ready")
	return (&shop.Web{DB: db, Log: log}).Serve(ctx, l)
}

func check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	rep, _, err := shop.Verify(f, st.Size())
	if err != nil {
		return err
	}
	b, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	fmt.Println(string(b))
	if !rep.OK() {
		return fmt.Errorf("record %d: %s", rep.FirstBad, strings.TrimSpace(rep.Why))
	}
	return nil
}
