package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func (a *App) preflightCommand() *cobra.Command {
	var target, point, machine, from string
	cmd := &cobra.Command{
		Use: "preflight GROUP [--target SITE] [--point POINT] [--machine MACHINE] | --site SITE --machine MACHINE --target SITE", Args: cobra.MaximumNArgs(1),
		Short: "Look into disks and say whether machines would start on the hardware of a site",
		Long: `Look into the disks of a recovery point, or of a stopped machine, and say whether the machines would start on the hardware of a site:
boot mode, drivers in the kernel and its initramfs, how the root file system and those in fstab are named, serial console, network
configuration, agent. Nothing is written: what is to be done is said as commands for the guest, to run where it runs now.

ext2, ext3 and ext4 are read. What cannot be read (LVM, LUKS, XFS, btrfs, NTFS) is unknown, and what to look at by hand is said.
Exits with 8 when a check failed. failover --dry-run and clone --dry-run say the same of machines that change their provider.`,
		Example: `  understudy preflight shop
  understudy preflight shop --target france --point "2026-11-20 14:00"
  understudy preflight --site paris --machine build --target france`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (from != "") || from != "" && (machine == "" || target == "") {
				return usage(cmd, errors.New("name a group, or --site, --machine and --target"))
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			var v wire.Preflight
			of := machine
			if from != "" {
				v, err = api.PreflightMachine(cmd.Context(), from, machine, client.PreflightMachineQuery{Target: target})
			} else {
				of = args[0]
				v, err = api.PreflightGroup(cmd.Context(), of, client.PreflightGroupQuery{Target: target, Point: point, Machine: machine})
			}
			if err != nil {
				return err
			}
			if !a.Human() {
				err = out.One(a.Printer, v, v.State)
			} else {
				err = a.printChecks(v.Checks)
			}
			failed := 0
			for _, c := range v.Checks {
				if c.State == "failure" {
					failed++
				}
			}
			if err == nil && failed > 0 {
				err = fmt.Errorf("preflight of %s for %s: %s %w", of, v.Target, out.Plural(failed, "check"), out.ErrChecks)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&target, "target", "", "site where they would start (default: the group's target)")
	flags.StringVar(&point, "point", "", "latest (the default), an ID, a name, or a time")
	flags.StringVar(&machine, "machine", "", "only this machine")
	flags.StringVar(&from, "site", "", "look into a stopped machine of this site instead")
	return cmd
}

var checkStyles = map[string]out.StyleName{"ok": out.Good, "warning": out.Warn, "failure": out.Bad, "unknown": out.Dim}

// printChecks prints checks, and below them what to do.
func (a *App) printChecks(list []wire.Check) error {
	err := out.List(a.Printer, list, func(c wire.Check) string { return c.Machine + ": " + c.Name }, "nothing to check",
		out.Col("MACHINE", func(c wire.Check) string { return c.Machine }),
		out.Col("CHECK", func(c wire.Check) string { return c.Name }),
		out.Column[wire.Check]{Title: "STATE", Text: func(c wire.Check) string { return c.State }, Style: func(c wire.Check) out.StyleName { return checkStyles[c.State] }},
		out.Col("FOUND", func(c wire.Check) string { return c.Message }))
	var said []string
	for _, c := range list {
		if line := c.Name + ": " + c.Remedy; c.Remedy != "" && !slices.Contains(said, line) {
			said = append(said, line)
			a.Line("%s", line)
		}
	}
	return err
}

// printCalls prints requests that providers would get.
func (a *App) printCalls(list []wire.SiteCall) {
	at := ""
	for _, c := range list {
		if c.Site != at {
			at = c.Site
			a.Line("requests at %s:", at)
		}
		a.Line("  %s %s", c.Method, c.Path)
		if c.Body != "" && c.Body != "null" {
			a.Line("      %s", c.Body)
		}
	}
}

// previewClone prints what a clone would do.
func (a *App) previewClone(ctx context.Context, api *client.Client, c wire.Clone) error {
	v, err := api.PreviewClone(ctx, c)
	if err != nil {
		return err
	}
	if !a.Human() {
		return out.One(a.Printer, v, v.As)
	}
	how := "through the controller"
	if v.Direct {
		how = "by the cloud itself"
	}
	what := v.From
	if v.Point != "" {
		what = "point " + v.Point + " of " + v.From
	}
	a.Line("%s of %s is copied to %s as %s: %s of disk, %s", c.Machine, what, v.To, v.As, out.Bytes(v.Bytes), how)
	a.printCalls(v.Calls)
	a.printRefusal("", "", v.Warnings)
	if len(v.Checks) > 0 {
		if err := a.printChecks(v.Checks); err != nil {
			return err
		}
	}
	a.Note("nothing was changed")
	return nil
}
