package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Aliases: []string{"policies"}, Short: "Replication policies: how often, and how long points are kept"}
	cmd.AddCommand(a.policySetCommand(), a.policyListCommand(), a.policyRemoveCommand())
	return cmd
}

func (a *App) policySetCommand() *cobra.Command {
	def := dr.DefaultPolicy()
	rpo, keep, every, freeze := dr.FormatDuration(def.RPO), dr.FormatTiers(def.Keep), "0", "0"
	cmd := &cobra.Command{
		Use: "set NAME [--rpo 5s] [--keep TIERS] [--app-every 1h] [--freeze-timeout 5s]", Aliases: []string{"add"},
		Short: "Add a policy, or change it for all groups that use it",
		Example: `  understudy policy set gold --rpo 5s --keep "all for 1h, 5m for 1d, 1h for 7d"
  understudy policy set gold --app-every 1h --freeze-timeout 5s`, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			p := wire.Policy{Name: args[0], Keep: keep, RPO: wire.Duration(def.RPO)}
			// What is not given stays as it is.
			list, err := api.ListPolicies(cmd.Context())
			if err != nil {
				return err
			}
			for _, old := range list {
				if old.Name == p.Name {
					p = old
				}
			}
			if cmd.Flags().Changed("keep") {
				p.Keep = keep
			}
			for _, f := range []struct {
				flag, text string
				to         *wire.Duration
			}{{"rpo", rpo, &p.RPO}, {"app-every", every, &p.AppEvery}, {"freeze-timeout", freeze, &p.FreezeTimeout}} {
				if !cmd.Flags().Changed(f.flag) {
					continue
				}
				if err := f.to.UnmarshalText([]byte(f.text)); err != nil {
					return fmt.Errorf("--%s: %w", f.flag, err)
				}
			}
			if _, err := p.DR(); err != nil {
				return err
			}
			p, err = api.PutPolicy(cmd.Context(), p)
			if err != nil {
				return fmt.Errorf("set policy %s: %w", args[0], err)
			}
			return out.One(a.Printer, p, p.Name, out.Field{Title: "Name", Text: p.Name},
				out.Field{Title: "RPO", Text: dr.FormatDuration(time.Duration(p.RPO))}, out.Field{Title: "Keep", Text: p.Keep},
				out.Field{Title: "Application consistent", Text: appEvery(p)})
		},
	}
	cmd.Flags().StringVar(&rpo, "rpo", rpo, "target age of the newest recovery point")
	cmd.Flags().StringVar(&keep, "keep", keep, "retention tiers")
	cmd.Flags().StringVar(&every, "app-every", every, "how often a point is application consistent, 0 for never")
	cmd.Flags().StringVar(&freeze, "freeze-timeout", freeze, "how long guests may be frozen for one, 0 for the usual "+dr.FormatDuration(dr.DefaultFreezeTimeout))
	return cmd
}

// appEvery says when points are application consistent.
func appEvery(p wire.Policy) string {
	if p.AppEvery == 0 {
		return "never"
	}
	limit := cmp.Or(time.Duration(p.FreezeTimeout), dr.DefaultFreezeTimeout)
	return fmt.Sprintf("every %s, frozen for %s at most", dr.FormatDuration(time.Duration(p.AppEvery)), dr.FormatDuration(limit))
}

func (a *App) policyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListPolicies(cmd.Context())
			if err != nil {
				return fmt.Errorf("list policies: %w", err)
			}
			return out.List(a.Printer, list, func(p wire.Policy) string { return p.Name }, "no policies",
				out.Col("NAME", func(p wire.Policy) string { return p.Name }),
				out.Num("RPO", func(p wire.Policy) string { return dr.FormatDuration(time.Duration(p.RPO)) }),
				out.Col("KEEP", func(p wire.Policy) string { return p.Keep }),
				out.Col("APPLICATION CONSISTENT", appEvery))
		},
	}
}

func (a *App) policyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a policy that no group uses", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RemovePolicy(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("remove policy %s: %w", args[0], err)
			}
			a.Note("removed policy %s", args[0])
			return nil
		},
	}
}
