package cli

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) grantCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "grant", Aliases: []string{"grants"}, Short: "Access to disks for a limited time, by which copies read and write and people look into recovery points"}
	var all bool
	list := &cobra.Command{
		Use: "list [--all]", Short: "List grants, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			grants, err := api.AllGrants(cmd.Context(), client.ListGrantsQuery{All: all})
			if err != nil {
				return fmt.Errorf("list grants: %w", err)
			}
			type G = wire.Grant
			return out.List(a.Printer, grants, func(g G) string { return g.ID }, "no grants",
				out.Col("ID", func(g G) string { return g.ID }),
				out.Col("ACCESS", func(g G) string { return g.Access }),
				out.Col("DISK", func(g G) string { return g.Disk }),
				out.Col("FOR", func(g G) string { return cmp.Or(g.Run, g.By) }),
				out.Col("ISSUED", func(g G) string { return out.Time(g.Issued) }),
				out.Num("RENEWED", func(g G) string { return strconv.Itoa(g.Renewed) }),
				out.Col("EXPIRES", func(g G) string {
					if g.Ended != nil {
						return ""
					}
					return out.Time(g.Expires)
				}),
				out.Col("ENDED", func(g G) string {
					if g.Ended == nil {
						return ""
					}
					return out.Time(*g.Ended) + ", " + g.Reason
				}))
		},
	}
	list.Flags().BoolVar(&all, "all", false, "also those that have ended")
	revoke := &cobra.Command{
		Use: "revoke GRANT", Short: "End a grant now and cut its connections; the copy that used it fails and can be resumed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RevokeGrant(cmd.Context(), args[0]); err != nil {
				return dr.WithHint(err, dr.KindOf(err), cmp.Or(dr.Hint(err), "understudy grant list"))
			}
			a.Note("grant %s has ended", args[0])
			return nil
		},
	}
	cmd.AddCommand(list, revoke, a.grantPointCommand())
	return cmd
}

func (a *App) grantPointCommand() *cobra.Command {
	var point, disk, lasts string
	cmd := &cobra.Command{
		Use: "point GROUP [--point POINT] --disk MACHINE/DISK [--for DURATION]", Short: "Have the controller serve a disk of a recovery point over NBD, to be read, for a time",
		Long: `Have the controller serve a disk of a recovery point over NBD, to be read, for a time. It is served on a socket of the
machine where the controller runs, for the controller's user and for root there. "understudy mount-nbd" serves a point wherever a
vault and its key are.`,
		Example: `  understudy grant point shop --point latest --disk shop-db/data --for 2h
  understudy grant revoke GRANT`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ttl, err := dr.ParseDuration(lasts)
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			machines, err := api.ListPointMachines(cmd.Context(), args[0], point)
			if err != nil {
				return err
			}
			ids, err := chooseDisks(machines, disk)
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				return invalid("choose one with --disk", "point %s has %d disks: %s", point, len(ids), joinDisks(ids))
			}
			m, err := api.MountDisk(cmd.Context(), args[0], point, wire.Mount{Machine: ids[0].Machine, Disk: ids[0].Disk, For: wire.Duration(ttl)})
			if err != nil {
				return err
			}
			err = out.One(a.Printer, m, m.URI, out.Field{Title: "Grant", Text: m.Grant}, out.Field{Title: "Point", Text: m.Point}, out.Field{Title: "Disk", Text: m.Disk},
				out.Field{Title: "Size", Text: out.Bytes(m.Size)}, out.Field{Title: "Until", Text: out.Time(m.Expires)}, out.Field{Title: "URI", Text: m.URI})
			if err != nil || !a.Human() {
				return err
			}
			a.Note("\nOn the controller's machine, for example:\n  sudo nbd-client -unix %s -N %s /dev/nbd0 -readonly\n  qemu-img convert -p -f raw -O qcow2 %s out.qcow2\nIt ends by itself, or with: understudy grant revoke %s",
				shellQuote(m.Socket), m.Export, shellQuote(m.URI), m.Grant)
			return nil
		},
	}
	cmd.Flags().StringVar(&point, "point", "latest", "latest, latest-application, latest-filesystem, an ID, a name, or a time")
	cmd.Flags().StringVar(&disk, "disk", "", "the disk, as MACHINE/DISK, or DISK where that is enough")
	cmd.Flags().StringVar(&lasts, "for", "1h", "how long, between 1m and 24h")
	return cmd
}
