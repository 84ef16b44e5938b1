package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
)

func (a *App) pointsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "points", Aliases: []string{"point"}, Short: "Recovery points"}
	cmd.AddCommand(a.pointsListCommand(), a.pointsShowCommand(), a.pointsNameCommand(), a.pointsUnnameCommand())
	return cmd
}

// pointFilterFlags say which points are wanted, as people write it.
type pointFilterFlags struct {
	consistency, after, before string
	named                      bool
}

func (f *pointFilterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.consistency, "consistency", "", "only points that are at least so consistent: crash, filesystem or application")
	cmd.Flags().StringVar(&f.after, "after", "", `only points at or after a time ("2006-01-02 15:04") or an age ("2h")`)
	cmd.Flags().StringVar(&f.before, "before", "", "only points before a time or an age")
	cmd.Flags().BoolVar(&f.named, "named", false, "only points with a name")
}

// filter reads the flags. now is what ages count from.
func (f pointFilterFlags) filter(now time.Time) (dr.PointFilter, error) {
	at := func(flag, s string) (time.Time, error) {
		if s == "" {
			return time.Time{}, nil
		}
		if t, ok := dr.ParseTime(s, time.Local); ok {
			return t, nil
		}
		age, err := dr.ParseDuration(s)
		if err != nil {
			return time.Time{}, invalid(`write a time, "2006-01-02 15:04" or 2006-01-02T15:04:05Z, or an age, 90m or 2d`, "--%s %q is neither a time nor an age", flag, s)
		}
		return now.Add(-age), nil
	}
	filter := dr.PointFilter{Consistency: dr.Consistency(f.consistency), Named: f.named}
	var err error
	if filter.After, err = at("after", f.after); err != nil {
		return filter, err
	}
	if filter.Before, err = at("before", f.before); err != nil {
		return filter, err
	}
	return filter, filter.Validate()
}

func (a *App) pointsListCommand() *cobra.Command {
	var place vaultFlags
	var wanted pointFilterFlags
	cmd := &cobra.Command{
		Use:   "list [GROUP] [--vault DIR] [--consistency KIND] [--after TIME] [--before TIME] [--named]",
		Short: "List recovery points, the oldest first",
		Long: `List the recovery points of a group that the controller protects, or, with --vault, of what is in a vault.
No key is needed.`,
		Example: `  understudy points list shop --consistency application --after 2d
  understudy points list --vault ./v`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				place.group = args[0]
			}
			filter, err := wanted.filter(time.Now())
			if err != nil {
				return err
			}
			points, err := a.findPoints(cmd, place, filter)
			if err != nil {
				return err
			}
			none := "no recovery points yet"
			if filter != (dr.PointFilter{}) {
				none = "no such recovery points"
			}
			return a.printPoints(points, none)
		},
	}
	place.add(cmd, true)
	wanted.add(cmd)
	return cmd
}

func (a *App) findPoints(cmd *cobra.Command, f vaultFlags, filter dr.PointFilter) (points []dr.RecoveryPoint, err error) {
	ctx := cmd.Context()
	if f.vault == "" {
		if f.group == "" {
			return nil, usage(cmd, fmt.Errorf("name a group, or a vault with --vault"))
		}
		api, err := a.client()
		if err != nil {
			return nil, err
		}
		return api.AllPoints(ctx, f.group, client.ListPointsQuery{Consistency: string(filter.Consistency), After: filter.After, Before: filter.Before, Named: filter.Named})
	}
	err = a.eachGroup(ctx, f, func(v *keyring.Opened, group string) error {
		list, err := v.Points(ctx, group)
		if err != nil {
			return fmt.Errorf("list points of %s: %w", group, err)
		}
		points = append(points, filter.Apply(list)...)
		return nil
	})
	return points, err
}

func (a *App) printPoints(points []dr.RecoveryPoint, none string) error {
	groups := map[string]bool{}
	named := false
	for _, p := range points {
		groups[p.Group] = true
		named = named || len(p.Names) > 0
	}
	type P = dr.RecoveryPoint
	var cols []out.Column[P]
	if len(groups) > 1 {
		cols = append(cols, out.Col("GROUP", func(p P) string { return p.Group }))
	}
	cols = append(cols,
		out.Col("ID", func(p P) string { return p.ID }),
		out.Col("TIME", func(p P) string { return out.Time(p.Time) }),
		out.Col("KIND", func(p P) string { return string(p.Kind) }))
	if named {
		cols = append(cols, out.Col("NAME", func(p P) string { return joinNames(p.Names) }))
	}
	cols = append(cols,
		out.Num("CHANGED", func(p P) string { return out.Bytes(p.Changed) }),
		out.Num("STORED", func(p P) string { return out.Bytes(p.Bytes) }),
		out.Num("DISKS", func(p P) string { return out.Bytes(p.Size) }),
		out.Col("MACHINES", func(p P) string { return joinNames(p.Machines) }))
	return out.List(a.Printer, points, func(p P) string { return p.ID }, none, cols...)
}

const selectorHelp = `POINT is latest, latest-application, latest-filesystem (or better), an ID, a name, or a time: the newest point at or
before it.`

// points is what can be done with one group's points, at the controller or in a vault's folder.
type points interface {
	FindPoint(ctx context.Context, group, selector string) (dr.RecoveryPoint, error)
	NamePoint(ctx context.Context, group, selector, name string) (dr.RecoveryPoint, error)
	UnnamePoint(ctx context.Context, group, name string) (dr.RecoveryPoint, error)
}

// apiPoints are those that the controller has.
type apiPoints struct{ *client.Client }

func (p apiPoints) FindPoint(ctx context.Context, group, selector string) (dr.RecoveryPoint, error) {
	return p.ShowPoint(ctx, group, selector)
}

func (p apiPoints) NamePoint(ctx context.Context, group, selector, name string) (dr.RecoveryPoint, error) {
	return p.Client.NamePoint(ctx, group, selector, wire.PointName{Name: name})
}

// pointsOf finds where the points of a group are.
func (a *App) pointsOf(ctx context.Context, f vaultFlags) (points, error) {
	if f.vault == "" {
		api, err := a.client()
		return apiPoints{api}, err
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
	_, err = v.Group(ctx, f.group)
	return v, err
}

func (a *App) pointsShowCommand() *cobra.Command {
	var place vaultFlags
	cmd := &cobra.Command{
		Use: "show GROUP POINT [--vault DIR]", Short: "Show which recovery point is meant", Long: selectorHelp,
		Example: "  understudy points show shop latest-application", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			place.group = args[0]
			from, err := a.pointsOf(cmd.Context(), place)
			if err != nil {
				return err
			}
			p, err := from.FindPoint(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.printPoint(p)
		},
	}
	place.add(cmd, false)
	return cmd
}

func (a *App) printPoint(p dr.RecoveryPoint) error {
	kind := string(p.Kind) + " consistent"
	if p.Skew > 0 {
		kind += ", disks within " + out.Seconds(p.Skew.Seconds())
	}
	return out.One(a.Printer, p, p.ID,
		out.Field{Title: "ID", Text: p.ID}, out.Field{Title: "Group", Text: p.Group}, out.Field{Title: "Time", Text: out.Time(p.Time)},
		out.Field{Title: "Kind", Text: kind}, out.Field{Title: "Names", Text: joinNames(p.Names)},
		out.Field{Title: "Machines", Text: joinNames(p.Machines)}, out.Field{Title: "Changed", Text: out.Bytes(p.Changed)},
		out.Field{Title: "Stored", Text: out.Bytes(p.Bytes)}, out.Field{Title: "Disks", Text: out.Bytes(p.Size)})
}

func (a *App) pointsNameCommand() *cobra.Command {
	var place vaultFlags
	cmd := &cobra.Command{
		Use: "name GROUP POINT NAME [--vault DIR]", Short: "Give a recovery point a name, and keep it until the name is taken away",
		Long: `Give a recovery point a name that it can be recovered by. A point with a name is kept whatever the policy says, until
points unname takes its last name away. ` + selectorHelp,
		Example: `  understudy points name shop latest before-upgrade
  understudy failover shop --test --point before-upgrade`, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			place.group = args[0]
			from, err := a.pointsOf(cmd.Context(), place)
			if err != nil {
				return err
			}
			p, err := from.NamePoint(cmd.Context(), args[0], args[1], args[2])
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, p, p.ID)
			}
			a.Line("%s: point %s of %s is named %s", args[0], p.ID, out.Time(p.Time), args[2])
			a.Note("it is kept until: understudy points unname %s %s", args[0], args[2])
			return nil
		},
	}
	place.add(cmd, false)
	return cmd
}

func (a *App) pointsUnnameCommand() *cobra.Command {
	var place vaultFlags
	cmd := &cobra.Command{
		Use: "unname GROUP NAME [--vault DIR]", Short: "Take a name away; the policy decides again how long the point is kept", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			place.group = args[0]
			from, err := a.pointsOf(cmd.Context(), place)
			if err != nil {
				return err
			}
			p, err := from.UnnamePoint(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, p, p.ID)
			}
			if len(p.Names) > 0 {
				a.Line("%s: point %s is no longer named %s, but still %s", args[0], p.ID, args[1], joinNames(p.Names))
				return nil
			}
			a.Line("%s: point %s is no longer named %s; the policy decides how long it is kept", args[0], p.ID, args[1])
			return nil
		},
	}
	place.add(cmd, false)
	return cmd
}
