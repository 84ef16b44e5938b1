// Package demo shows Understudy at work on two tiny machines: a shop's database and its web front run at site east,
// are replicated, rehearsed, lose their site in mid-write, and come back at site west. It drives the real program
// through its API, as a user would, and checks what it shows against the records that the database acknowledged. Each
// machine has an agent that its site must know: copied to west it runs and is dead, until the recovery plan revives it.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest"
	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

// RPO is the objective that the demonstration protects its group with.
const RPO = 5 * time.Second

// Options of the demonstration.
type Options struct {
	Program string // the understudy program
	Guest   string // folder of the guest's files; they are built there when missing
	Source  string // folder of the module, for building the guest; empty for the working directory
	Keep    bool   // leave everything running
	JSON    bool   // print one JSON object at the end, and the story to Story only
	Story   io.Writer
	Out     io.Writer
}

// A Summary is what the demonstration measured.
type Summary struct {
	OK           bool    `json:"ok"`
	Acknowledged uint64  `json:"acknowledged"` // newest record that the database had acknowledged at the kill
	Recovered    uint64  `json:"recovered"`    // newest record in the recovered database
	Lost         uint64  `json:"lost"`
	RPOSeconds   float64 `json:"rpoSeconds"` // from the last acknowledgement that was kept to the kill
	RTOSeconds   float64 `json:"rtoSeconds"` // from the kill to the first page that the recovered shop served
	BytesMoved   int64   `json:"bytesMoved"` // stored in the vault by all recovery points
	Extensions   int     `json:"extensions"` // that the plan restored at the new site
	Checks       []Check `json:"checks"`
	Folder       string  `json:"folder,omitempty"` // where everything is, when it was kept
}

// A Check is one thing that must hold.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// ErrFailed says that the demonstration ran to its end and a check failed.
var ErrFailed = errors.New("a check failed")

// demo is a demonstration under way.
type demo struct {
	Options
	dir     string
	began   time.Time
	serve   *exec.Cmd
	served  chan error // the controller's end
	client  *client.Client
	env     []string // for the controller, beside this process's
	summary Summary

	collectors map[string]*collector.Client // by site
	telling    sync.Mutex                   // several things happen at the same time
}

// Run shows everything, cleans up, and returns what was measured. The error is ErrFailed when a check failed.
func Run(ctx context.Context, o Options) (s Summary, err error) {
	d, err := begin(ctx, o)
	if err != nil {
		return Summary{}, err
	}
	err = d.play(ctx)
	if o.Keep {
		d.summary.Folder = d.dir
		defer d.explainKeep(context.WithoutCancel(ctx))
	} else {
		left := d.strike()
		if err == nil {
			d.check("nothing is left running", left == nil, errorText(left))
		} else {
			err = errors.Join(err, left)
		}
	}
	if err != nil {
		return d.summary, fmt.Errorf("demo: %w", err)
	}
	return d.summary, d.conclude()
}

// begin makes a demonstration's folder, and the guest when it is not there.
func begin(ctx context.Context, o Options) (d *demo, err error) {
	if err := checkTools(); err != nil {
		return nil, err
	}
	if !guest.Built(o.Guest) {
		if err := guest.Build(ctx, o.Guest, o.Source, o.Story); err != nil {
			return nil, err
		}
	}
	d = &demo{Options: o, began: time.Now()}
	// Unix sockets live below this folder, and their paths must be short.
	d.dir, err = os.MkdirTemp("", "understudy-demo-")
	return d, err
}

// checkTools says what to install when QEMU is missing.
func checkTools() error {
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			return dr.WithHint(fmt.Errorf("demo: %s is not installed", tool), dr.KindUnavailable,
				"apt-get install --no-install-recommends qemu-system-x86 qemu-utils")
		}
	}
	return nil
}

// play is the story from the first curtain to the last check.
func (d *demo) play(ctx context.Context) error {
	east, err := d.setStage(ctx)
	if err != nil {
		return err
	}
	defer east.close()
	if err := d.rehearse(ctx); err != nil {
		return err
	}
	return d.disaster(ctx, east)
}

// setStage opens the shop at east, and has it replicated.
func (d *demo) setStage(ctx context.Context) (*till, error) {
	if err := d.buildSites(ctx); err != nil {
		return nil, err
	}
	if err := d.startCollectors(ctx); err != nil {
		return nil, err
	}
	if err := d.startController(ctx); err != nil {
		return nil, err
	}
	if err := d.configure(ctx); err != nil {
		return nil, err
	}
	east, err := d.openShop(ctx)
	if err != nil {
		return nil, err
	}
	if err = d.installAgents(ctx); err == nil {
		err = d.replicate(ctx)
	}
	if err != nil {
		east.close()
		return nil, err
	}
	return east, nil
}

// say prints a line of the story with the seconds since the beginning.
func (d *demo) say(format string, args ...any) {
	d.telling.Lock()
	defer d.telling.Unlock()
	fmt.Fprintf(d.Story, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) act(title string) { fmt.Fprintf(d.Story, "\n== %s\n", title) }

// check records a check, once per name: a later failure of the same name counts.
func (d *demo) check(name string, ok bool, detail string) {
	for i, c := range d.summary.Checks {
		if c.Name == name {
			if c.OK && !ok {
				d.summary.Checks[i] = Check{name, ok, detail}
			}
			return
		}
	}
	d.summary.Checks = append(d.summary.Checks, Check{name, ok, detail})
}

// conclude prints the summary.
func (d *demo) conclude() error {
	s := &d.summary
	s.OK = true
	for _, c := range s.Checks {
		s.OK = s.OK && c.OK
	}
	d.act("What happened")
	fmt.Fprintf(d.Story, "  records acknowledged before the kill  %d\n", s.Acknowledged)
	fmt.Fprintf(d.Story, "  records recovered                     %d\n", s.Recovered)
	fmt.Fprintf(d.Story, "  records lost                          %d\n", s.Lost)
	fmt.Fprintf(d.Story, "  achieved RPO                          %.1f s (objective %.0f s)\n", s.RPOSeconds, RPO.Seconds())
	fmt.Fprintf(d.Story, "  achieved RTO, kill to first page      %.1f s\n", s.RTOSeconds)
	fmt.Fprintf(d.Story, "  extensions restored by the plan       %d\n", s.Extensions)
	fmt.Fprintf(d.Story, "  stored in the vault                   %.1f MB\n\n", float64(s.BytesMoved)/1e6)
	return d.finishStory()
}

// finishStory prints the checks.
func (d *demo) finishStory() error {
	s := &d.summary
	for _, c := range s.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(d.Story, "  %s  %s", mark, c.Name)
		if c.Detail != "" {
			fmt.Fprintf(d.Story, " (%s)", c.Detail)
		}
		fmt.Fprintln(d.Story)
	}
	if d.JSON {
		if err := json.NewEncoder(d.Out).Encode(s); err != nil {
			return err
		}
	}
	if !s.OK {
		return ErrFailed
	}
	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// waitRun follows a run and prints each step as it ends. When healthy is true it returns as soon as all machines are
// up, before the run ends.
func (d *demo) waitRun(ctx context.Context, run wire.Run) (wire.Run, error) {
	said := map[string]string{}
	err := d.client.Watch(ctx, run.ID, func(r wire.Run) error {
		run = r
		for _, s := range r.Steps {
			if s.State == said[s.Name] || (s.State != "succeeded" && s.State != "failed") {
				continue
			}
			said[s.Name] = s.State
			took := ""
			if s.Started != nil && s.Ended != nil {
				took = fmt.Sprintf(" in %.1f s", s.Ended.Sub(*s.Started).Seconds())
			}
			text := s.Title
			if s.Message != "" {
				text += ": " + s.Message
			}
			d.say("  %s%s", text, took)
		}
		return nil
	})
	if err != nil {
		return run, err
	}
	if run.State != "succeeded" {
		return run, dr.WithHint(fmt.Errorf("%s %s: %s", run.Kind, run.State, run.Error), dr.KindInternal, run.Hint)
	}
	return run, nil
}

// explainKeep lists what a person needs to go on with a demonstration that was kept.
func (d *demo) explainKeep(ctx context.Context) {
	data := filepath.Join(d.dir, "controller")
	d.act("Everything is left running")
	if d.client != nil {
		if addr, err := d.hostPort(ctx, "west", web, 80); err == nil {
			fmt.Fprintf(d.Story, "  the shop        http://%s/\n", addr)
		}
	}
	fmt.Fprintf(d.Story, "  look around     %s status --data %s\n", d.Program, data)
	fmt.Fprintf(d.Story, "  recovery points %s points list shop --data %s\n", d.Program, data)
	fmt.Fprintf(d.Story, "  end it          %s demo --end %s\n", d.Program, d.dir)
}
