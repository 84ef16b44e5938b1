package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) pointsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "points", Aliases: []string{"point"}, Short: "Recovery points"}
	cmd.AddCommand(a.pointsListCommand())
	return cmd
}

func (a *App) pointsListCommand() *cobra.Command {
	var place vaultFlags
	cmd := &cobra.Command{
		Use:   "list [GROUP] [--vault DIR]",
		Short: "List recovery points, the oldest first",
		Long: `List the recovery points of a group that the controller protects, or, with --vault, of what is in a vault.
No key is needed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				place.group = args[0]
			}
			points, err := a.findPoints(cmd, place)
			if err != nil {
				return err
			}
			return a.printPoints(points)
		},
	}
	place.add(cmd, true)
	return cmd
}

func (a *App) findPoints(cmd *cobra.Command, f vaultFlags) (points []dr.RecoveryPoint, err error) {
	ctx := cmd.Context()
	if f.vault == "" {
		if f.group == "" {
			return nil, usage(cmd, fmt.Errorf("name a group, or a vault with --vault"))
		}
		api, err := a.client()
		if err != nil {
			return nil, err
		}
		return api.Points(ctx, f.group)
	}
	opener, err := a.opener()
	if err != nil {
		return nil, err
	}
	place, err := a.place(ctx, f)
	if err != nil {
		return nil, err
	}
	v, err := opener.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	groups, err := v.Groups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	if f.group != "" {
		group, err := v.Group(ctx, f.group)
		if err != nil {
			return nil, err
		}
		groups = []string{group}
	}
	for _, g := range groups {
		list, err := v.Points(ctx, g)
		if err != nil {
			return nil, fmt.Errorf("list points of %s: %w", g, err)
		}
		points = append(points, list...)
	}
	return points, nil
}

func (a *App) printPoints(points []dr.RecoveryPoint) error {
	groups := map[string]bool{}
	for _, p := range points {
		groups[p.Group] = true
	}
	type P = dr.RecoveryPoint
	var cols []out.Column[P]
	if len(groups) > 1 {
		cols = append(cols, out.Col("GROUP", func(p P) string { return p.Group }))
	}
	cols = append(cols,
		out.Col("ID", func(p P) string { return p.ID }),
		out.Col("TIME", func(p P) string { return out.Time(p.Time) }),
		out.Col("KIND", func(p P) string { return string(p.Kind) }),
		out.Num("CHANGED", func(p P) string { return out.Bytes(p.Changed) }),
		out.Num("STORED", func(p P) string { return out.Bytes(p.Bytes) }),
		out.Num("DISKS", func(p P) string { return out.Bytes(p.Size) }),
		out.Col("MACHINES", func(p P) string { return joinNames(p.Machines) }))
	return out.List(a.Printer, points, func(p P) string { return p.ID }, "no recovery points yet", cols...)
}
