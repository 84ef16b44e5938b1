package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ConsoleOptions of the demonstration that a person plays in the web console.
type ConsoleOptions struct {
	Options
	In io.Reader // lines of what to do; its end says nothing
}

// RunConsole sets the stage of the demonstration and leaves the play to a person before the web console: it obeys the lines of
// o.In until ctx ends or a line says `end`, and takes everything down then.
func RunConsole(ctx context.Context, o ConsoleOptions) (err error) {
	d, err := begin(ctx, o.Options)
	if err != nil {
		return err
	}
	defer func() {
		d.act("The end")
		if err = errors.Join(err, d.strike()); err == nil {
			d.say("everything is taken down")
		} else if ctx.Err() == nil {
			err = fmt.Errorf("demo: %w", err)
		}
	}()
	east, err := d.setStage(ctx)
	if err != nil {
		return err
	}
	defer east.close()
	if err := d.explainConsole(); err != nil {
		return err
	}
	return d.obey(ctx, o.In, east)
}

// explainConsole says where the console is and what can be done.
func (d *demo) explainConsole() error {
	token, err := os.ReadFile(filepath.Join(d.dir, "controller", "bootstrap-token"))
	if err != nil {
		return fmt.Errorf("find the one-time token of the console: %w", err)
	}
	d.act("The rest is yours")
	fmt.Fprintf(d.Story, "  open      %s/\n", d.client.URL())
	fmt.Fprintf(d.Story, "  token     %s  (makes the first administrator, once)\n", strings.TrimSpace(string(token)))
	fmt.Fprintf(d.Story, "  commands  %s status --data %s\n", d.Program, filepath.Join(d.dir, "controller"))
	fmt.Fprint(d.Story, "  type      kill, and site east dies in mid-write; end (or Ctrl-C), and everything is taken down\n\n")
	return nil
}

// obey does what lines say until one is `end`, or ctx ends.
func (d *demo) obey(ctx context.Context, in io.Reader, east *till) error {
	lines := make(chan string)
	go func() { // ends with its input, or with this process: reading a terminal cannot be broken off
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- strings.TrimSpace(s.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for dead := false; ; {
		var line string
		select {
		case <-ctx.Done():
			return nil
		case text, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			line = text
		}
		switch {
		case line == "end":
			return nil
		case line == "kill" && dead:
			d.say("east is dead already")
		case line == "kill":
			if !east.over() { // or the shop was stopped there, or has moved
				if err := d.awaitWrites(ctx, east); err != nil {
					return err
				}
			}
			if _, err := d.killEast(east); err != nil {
				return err
			}
			dead = true
			d.say("fail over in the console: %s/failover/%s?kind=unplanned", d.client.URL(), group)
		case line != "":
			d.say("%q is neither kill nor end", line)
		}
	}
}
