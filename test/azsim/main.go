// Command azsim is a simulated Azure on a loopback port, for tests and demonstrations. It prints one line of JSON when it
// is ready, and serves until it is ended.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"understudy/test/azsim/sim"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "azsim:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on, of the loopback interface")
	dir := flag.String("dir", "", "folder for the certificate's file (default: a temporary one)")
	scenario := flag.String("scenario", "", "what is there at the beginning: shop, or nothing")
	copyTime := flag.Duration("copy-time", 5*time.Second, "how long a copy to another region takes")
	hub := flag.Bool("hub", false, "behave like an Azure Stack Hub with AD FS")
	flag.Parse()
	if *dir == "" {
		tmp, err := os.MkdirTemp("", "azsim-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		*dir = tmp
	}
	s, err := sim.New(sim.Options{Listen: *listen, Dir: *dir, CopyTime: *copyTime, Polls: 1, RetryAfter: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	defer s.Close()
	if *hub {
		s.Hub()
	}
	switch *scenario {
	case "":
	case "shop":
		if err := s.Shop(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("there is no scenario %q: shop", *scenario)
	}
	ready := map[string]any{"url": s.URL(), "ca": s.CA(), "env": s.Env(), "east": s.Config(sim.ShopEast.Region, sim.ShopEast.Group), "west": s.Config(sim.ShopWest.Region, sim.ShopWest.Group)}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}
