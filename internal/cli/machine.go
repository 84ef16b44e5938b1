package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

// placed is a machine with its site.
type placed struct {
	Site string `json:"site"`
	dr.Machine
}

const machineLong = `Machines of sites.

A machine of a qemu site is a file DIR/machines/NAME.yaml; the controller sees it at once. Paths in it are relative to its folder:

  name: shop-db                     # as the file is named
  cpus: 2                           # default 1
  memory: 1GiB                      # default 256MiB
  boot: {firmware: uefi}            # bios (the default) or uefi
  disks:                            # as virtio-blk, booted in this order
    - {name: system, path: ../images/system.qcow2, format: qcow2}   # qcow2 or raw
    - {name: data, path: ../images/data.raw, format: raw}
  nics:                             # as virtio-net
    - {network: lan}                # a switch between the machines of the site; mac: "52:54:..." fixes the address
    - {network: access, forwards: [{guestPort: 7000}]}   # ports of the guest on 127.0.0.1; hostPort fixes which
  agent: true                       # the QEMU guest agent runs in the guest: file systems are frozen for captures
  tags: {owner: me}

A machine may boot a kernel instead of firmware: boot: {kernel: ../vmlinuz, initrd: ../initrd.gz, cmdline: "console=ttyS0"}.
Probes by TCP and HTTP need the port among the forwards. Forwarded cards reach nothing but this host.
"understudy machine show NAME" tells the ports.`

func (a *App) machineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "machine", Aliases: []string{"machines"}, Short: "Machines of sites", Long: machineLong}
	cmd.AddCommand(a.machineListCommand(), a.machineShowCommand(), a.releaseCommand(),
		a.machinePowerCommand("start", "Start a machine", "start"), a.machineStopCommand())
	return cmd
}

func (a *App) machineListCommand() *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use: "list [--site SITE]", Short: "List machines of one site, or of all", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, silent := a.machines(cmd, site)
			if len(list) == 0 && silent != nil {
				return silent
			}
			err := out.List(a.Printer, list, func(m placed) string { return m.Name }, "no machines",
				out.Col("SITE", func(m placed) string { return m.Site }),
				out.Col("NAME", func(m placed) string { return m.Name }),
				out.Column[placed]{Title: "POWER", Text: func(m placed) string { return string(m.Power) }, Style: powerStyle},
				out.Num("CPUS", func(m placed) string { return number(m.CPUs) }),
				out.Num("MEMORY", func(m placed) string { return mebibytes(m.MemoryMiB) }),
				out.Col("DISKS", func(m placed) string { return disksText(m.Disks) }))
			return errors.Join(err, silent)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "only this site")
	return cmd
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func mebibytes(n int) string {
	if n == 0 {
		return ""
	}
	return out.Bytes(int64(n) << 20)
}

func powerStyle(m placed) out.StyleName {
	if m.Power == dr.PowerOn {
		return out.Good
	}
	return out.Plain
}

func disksText(disks []dr.Disk) string {
	var list []string
	for _, d := range disks {
		if d.Role == dr.RoleDisk {
			list = append(list, d.Name+" "+out.Bytes(d.Size))
		}
	}
	return strings.Join(list, ", ")
}

// machines lists the machines of a site, or of all sites. It lists the others when a site does not answer, and returns
// an error of the first kind met that names all which do not.
func (a *App) machines(cmd *cobra.Command, site string) ([]placed, error) {
	api, err := a.client()
	if err != nil {
		return nil, err
	}
	names := []string{site}
	if site == "" {
		sites, err := api.ListSites(cmd.Context())
		if err != nil {
			return nil, fmt.Errorf("list sites: %w", err)
		}
		names = nil
		for _, s := range sites {
			names = append(names, s.Name)
		}
	}
	var list []placed
	var silent error
	for _, name := range names {
		there, err := api.ListMachines(cmd.Context(), name)
		if err != nil {
			if site != "" || cmd.Context().Err() != nil {
				return nil, err
			}
			silent = errors.Join(silent, fmt.Errorf("site %s: %w", name, err))
			continue
		}
		for _, m := range there {
			list = append(list, placed{name, m})
		}
	}
	return list, silent
}

// findMachine finds a machine by name at a site, or anywhere when that is not ambiguous.
func (a *App) findMachine(cmd *cobra.Command, site, name string) (placed, error) {
	list, silent := a.machines(cmd, site)
	list = slices.DeleteFunc(list, func(m placed) bool { return m.Name != name })
	switch len(list) {
	case 0:
		if silent != nil {
			return placed{}, silent
		}
		return placed{}, dr.WithHint(fmt.Errorf("no machine %s", name), dr.KindNotFound, "understudy machine list")
	case 1:
		return list[0], nil
	}
	return placed{}, invalid("choose one with --site", "machine %s is at several sites", name)
}

func (a *App) machineShowCommand() *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use: "show NAME [--site SITE]", Short: "Show a machine", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.findMachine(cmd, site, args[0])
			if err != nil {
				return err
			}
			var nics []string
			for _, n := range m.NICs {
				text := n.Network
				for _, f := range n.Forwards {
					text += fmt.Sprintf(" (127.0.0.1:%d to port %d)", f.HostPort, f.GuestPort)
				}
				nics = append(nics, text)
			}
			return out.One(a.Printer, m, m.Name, out.Field{Title: "Name", Text: m.Name}, out.Field{Title: "Site", Text: m.Site},
				out.Field{Title: "Power", Text: string(m.Power)}, out.Field{Title: "CPUs", Text: number(m.CPUs)},
				out.Field{Title: "Memory", Text: mebibytes(m.MemoryMiB)}, out.Field{Title: "Disks", Text: disksText(m.Disks)},
				out.Field{Title: "Networks", Text: strings.Join(nics, ", ")}, out.Field{Title: "Guest agent", Text: out.YesNo(m.Agent)})
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the site, where several have a machine of that name")
	return cmd
}

func (a *App) machinePowerCommand(verb, short, action string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use: verb + " NAME [--site SITE]", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.power(cmd, site, args[0], action) },
	}
	cmd.Flags().StringVar(&site, "site", "", "the site, where several have a machine of that name")
	return cmd
}

func (a *App) machineStopCommand() *cobra.Command {
	var kill bool
	var site string
	cmd := &cobra.Command{
		Use: "stop NAME [--site SITE] [--kill]", Short: "Ask a machine to shut down", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kill {
				return a.power(cmd, site, args[0], "kill")
			}
			return a.power(cmd, site, args[0], "shutdown")
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the site, where several have a machine of that name")
	cmd.Flags().BoolVar(&kill, "kill", false, "pull the plug instead")
	return cmd
}

func (a *App) power(cmd *cobra.Command, site, name, action string) error {
	m, err := a.findMachine(cmd, site, name)
	if err != nil {
		return err
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	if err := api.PowerMachine(cmd.Context(), m.Site, m.Name, wire.Power{Action: action}); err != nil {
		return err
	}
	m, err = a.findMachine(cmd, m.Site, m.Name)
	if err != nil {
		return err
	}
	if !a.Human() {
		return out.One(a.Printer, m, m.Name)
	}
	a.Line("%s at %s: %s", m.Name, m.Site, m.Power)
	return nil
}
