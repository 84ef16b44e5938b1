package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

// copyFlags are what clone and move have in common.
type copyFlags struct {
	c        wire.Clone
	memory   string
	sizes    []string
	networks []string
	set      []string
	dryRun   bool
	wait     waitFlags
}

func (f *copyFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.c.Site, "site", "", "site of the machine")
	flags.StringVar(&f.c.To, "to", "", "site for the copy, by name or as PROVIDER:REGION (default: the same)")
	flags.StringVar(&f.c.As, "as", "", "name of the copy (default: the same)")
	flags.IntVar(&f.c.CPUs, "cpus", 0, "processors (default: as it has)")
	flags.StringVar(&f.memory, "memory", "", "memory, such as 2GiB (default: as it has)")
	flags.StringVar(&f.c.Format, "format", "", "format of its disks: raw or qcow2 (default: the site's)")
	flags.StringArrayVar(&f.sizes, "size", nil, "grow a disk: DISK=SIZE, such as data=20GiB; may be given again")
	flags.StringArrayVar(&f.networks, "network", nil, "put it into another network: OLD=NEW; may be given again")
	flags.StringArrayVar(&f.set, "set", nil, "set what only the site understands: KEY=VALUE, disk/NAME/KEY=VALUE or nic/NUMBER/KEY=VALUE; may be given again")
	f.wait.add(cmd)
}

// request is what was asked for.
func (f *copyFlags) request(machine string) (wire.Clone, error) {
	c := f.c
	c.Machine = machine
	if f.memory != "" {
		n, err := dr.ParseSize(f.memory)
		if err != nil {
			return c, err
		}
		if n < 1<<20 || n%(1<<20) != 0 {
			return c, invalid("write, for example, 512MiB or 2GiB", "memory %q is not a number of MiB", f.memory)
		}
		c.MemoryMiB = int(n >> 20)
	}
	for _, s := range f.sizes {
		disk, size, ok := strings.Cut(s, "=")
		if !ok || disk == "" {
			return c, invalid("write, for example, --size data=20GiB", "size %q is not of the form DISK=SIZE", s)
		}
		n, err := dr.ParseSize(size)
		if err != nil {
			return c, err
		}
		if c.Sizes == nil {
			c.Sizes = map[string]int64{}
		}
		c.Sizes[disk] = n
	}
	for _, s := range f.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return c, invalid("write, for example, --set azure.size=Standard_D4s_v5 or --set 'disk/*/azure.sku=Premium_LRS'", "setting %q is not of the form KEY=VALUE", s)
		}
		if c.Set == nil {
			c.Set = map[string]string{}
		}
		c.Set[key] = value
	}
	for _, s := range f.networks {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			return c, invalid("write, for example, --network lan=dmz", "network %q is not of the form OLD=NEW", s)
		}
		if c.Networks == nil {
			c.Networks = map[string]string{}
		}
		c.Networks[from] = to
	}
	return c, nil
}

func (a *App) cloneCommand() *cobra.Command {
	var f copyFlags
	var from string
	cmd := &cobra.Command{
		Use: "clone MACHINE {--site SITE | --group GROUP [--point POINT] | --from SITE} [--to SITE] [--as NAME]", Short: "Copy a machine, as it is now or as a recovery point has it",
		Long: `Copy a machine, hot or stopped, within a site or to another, from the machine itself or from any recovery point of its group.
The machine goes on meanwhile. All disks of the copy are of one instant, and are compared with their source by digest at the end.
A machine that is replicated is copied from a recovery point made for it now, so that its replication does not wait.

Between sites of one cloud, and within one, the cloud copies the disks itself, from snapshots of them all, which are removed at
the end; then --verify compares what they hold, which reads all of it on both sides.

A copy goes on after a crash of the controller. One that failed is kept for 7 days: understudy run resume RUN; or give it up:
understudy run cancel RUN. The copy gets new MAC addresses and host ports, so that it can live beside the machine.`,
		Example: `  understudy clone shop-db --site east --as shop-db-lab --network lan=lab --start
  understudy clone shop-db --group shop --point "2026-11-20 14:00" --to west --as shop-db-friday
  understudy clone shop-db --site east --to west --as shop-db-big --format raw --size data=20GiB --cpus 4 --memory 2GiB
  understudy clone --from azure:francecentral/MASTER --to azure:brazilsouth --network lan/default=lan/default
  understudy clone MASTER --site paris --as MASTER-lab --set azure.size=Standard_D2s_v5 --set azure.zone=2 --set 'disk/*/azure.sku=StandardSSD_LRS'`,
		Args: cobra.RangeArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "site", "group", "from"); err != nil {
				return err
			}
			if from != "" {
				i := strings.LastIndexByte(from, '/')
				if i < 0 && len(args) == 0 || i >= 0 && len(args) == 1 {
					return usage(cmd, errors.New("name the machine once: --from SITE/MACHINE, or as the argument"))
				}
				if i >= 0 {
					args, from = []string{from[i+1:]}, from[:i]
				}
				f.c.Site = from
			}
			if len(args) == 0 {
				return usage(cmd, errors.New("name the machine to copy"))
			}
			if f.c.Point != "" && f.c.Group == "" {
				return usage(cmd, errors.New("--point needs --group"))
			}
			return a.copyMachine(cmd, args[0], &f, (*client.Client).Clone)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.c.Group, "group", "", "group of the recovery point")
	cmd.Flags().StringVar(&f.c.Point, "point", "", "recovery point: latest (the default), an ID, a name or a time")
	cmd.Flags().StringVar(&from, "from", "", "where the machine is: SITE/MACHINE, or PROVIDER:REGION/MACHINE")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be copied, whether it would start there and what Azure would be asked, and change nothing")
	cmd.Flags().BoolVar(&f.c.Start, "start", false, "start the copy")
	cmd.Flags().BoolVar(&f.c.Verify, "verify", false, "compare digests also when the cloud copies the disks itself")
	return cmd
}

func (a *App) moveCommand() *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use: "move MACHINE --site SITE [--to SITE] [--as NAME]", Short: "Move a machine to another site, or to another name, disk format or network",
		Long: `Move a machine: copy its disks while it runs, shut it down, copy what changed since, and start the copy.
The source stays, stopped and held, until the move is confirmed (understudy move confirm RUN). Until then it can be undone:
understudy run cancel RUN starts the source again as it was, and removes the copy with what was written to it since.
Any failure gives the source back by itself.`,
		Example: `  understudy move build --site east --to west
  understudy move confirm r1234abcd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "site"); err != nil {
				return err
			}
			return a.copyMachine(cmd, args[0], &f, (*client.Client).Move)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.c.Start, "start", false, "start the copy also when the machine did not run")
	cmd.AddCommand(a.moveConfirmCommand())
	return cmd
}

func (a *App) copyMachine(cmd *cobra.Command, machine string, f *copyFlags, begin func(*client.Client, context.Context, wire.Clone) (wire.Run, error)) error {
	c, err := f.request(machine)
	if err != nil {
		return err
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	for _, name := range []*string{&c.Site, &c.To} {
		if *name, err = siteAt(cmd.Context(), api, *name); err != nil {
			return err
		}
	}
	if f.dryRun {
		return a.previewClone(cmd.Context(), api, c)
	}
	run, err := begin(api, cmd.Context(), c)
	if err != nil {
		return err
	}
	return a.follow(cmd, api, run, f.wait)
}

func (a *App) moveConfirmCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "confirm RUN [--delete-source]", Short: "Make a move final", Args: cobra.ExactArgs(1),
		Long: "Make a move final. The source stays, stopped and held, unless it is deleted, which only a machine that Understudy made can be.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.ConfirmMove(cmd.Context(), args[0], wire.Confirm{DeleteSource: remove}); err != nil {
				return err
			}
			a.Note("the move is final")
			return nil
		},
	}
	cmd.Flags().BoolVar(&remove, "delete-source", false, "delete the source")
	return cmd
}

func (a *App) runResumeCommand() *cobra.Command {
	var wait waitFlags
	cmd := &cobra.Command{
		Use: "resume RUN", Short: "Go on with a clone or a move that failed; what it copied stays copied", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			run, err := api.ResumeRun(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	wait.add(cmd)
	return cmd
}

// Published figures that a copy's speed is shown beside, in bytes a second: a restore by a cloud's recovery service, and
// a copy of disks of 127 GB and 1 TB between regions in 49 minutes.
const (
	publishedRestore = 60e6
	publishedCopy    = (127e9 + 1024e9) / (49 * 60)
)

// printCopy says what a clone or a move became, and how fast.
func (a *App) printCopy(r wire.Run) {
	res, ok := r.Result["clone"].(map[string]any)
	if !ok {
		return
	}
	number := func(name string) float64 { n, _ := res[name].(float64); return n }
	text := func(name string) string { s, _ := res[name].(string); return s }
	if took := number("copying"); res["direct"] == true && r.State == "succeeded" {
		compared := "digests agree"
		if disks, _ := res["disks"].([]any); len(disks) > 0 {
			if d, _ := disks[0].(map[string]any); d["content"] == nil {
				compared = "not compared (--verify)"
			}
		}
		a.Line("the cloud copied disks of %s in %s: %s/s of disk; %s", out.Bytes(int64(number("size"))), out.Seconds(took), rate(number("size")/max(took, 1e-3)), compared)
		a.Line("published elsewhere: restore at %s/s; 127 GB + 1 TB of disk in 49 minutes, %s/s", rate(publishedRestore), rate(publishedCopy))
	} else if took > 0 && r.State == "succeeded" {
		a.Line("copied disks of %s, holding %s of data, in %s: %s/s of disk, %s/s of data; digests agree",
			out.Bytes(int64(number("size"))), out.Bytes(int64(number("bytes"))), out.Seconds(took), rate(number("size")/took), rate(number("bytes")/took))
		a.Line("published elsewhere: restore at %s/s; 127 GB + 1 TB of disk in 49 minutes, %s/s", rate(publishedRestore), rate(publishedCopy))
	}
	if at, err := time.Parse(time.RFC3339Nano, text("instant")); err == nil && r.State == "succeeded" {
		a.Line("it shows %s as of %s (%s consistent)", about(r), out.Time(at), text("kind"))
	}
	if down := number("downtime"); down > 0 && r.State == "succeeded" {
		a.Line("downtime %s", out.Seconds(down))
	}
	switch {
	case res["gaveBack"] == true:
		a.Line("the source is as it was before")
	case text("notGone") != "":
		a.Line("the source could not be deleted: %s", text("notGone"))
	case res["deleted"] == true:
		a.Line("the source is deleted")
	}
	if r.State == "failed" {
		a.Note("go on with it: understudy run resume %s; give it up: understudy run cancel %s", r.ID, r.ID)
	}
}

// rate is a speed in MB, as published figures are.
func rate(bytesPerSecond float64) string { return fmt.Sprintf("%.0f MB", bytesPerSecond/1e6) }

// about is what a run is about.
func about(r wire.Run) string { return cmp.Or(r.Group, r.About) }

// errWaits ends the watching of a run that waits for a person who has to look first.
var errWaits = errors.New("the run waits for a person")
