package cli

import (
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
	rpo, keep := dr.FormatDuration(def.RPO), dr.FormatTiers(def.Keep)
	cmd := &cobra.Command{
		Use: "set NAME [--rpo 5s] [--keep TIERS]", Aliases: []string{"add"}, Short: "Add a policy, or change it for all groups that use it",
		Example: `  understudy policy set gold --rpo 5s --keep "all for 1h, 5m for 1d, 1h for 7d"`, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			p := wire.Policy{Name: args[0], Keep: keep}
			// What is not given stays as it is.
			list, err := api.Policies(cmd.Context())
			if err != nil {
				return err
			}
			for _, old := range list {
				if old.Name != p.Name {
					continue
				}
				if !cmd.Flags().Changed("rpo") {
					rpo = dr.FormatDuration(time.Duration(old.RPO))
				}
				if !cmd.Flags().Changed("keep") {
					p.Keep = old.Keep
				}
			}
			if err := p.RPO.UnmarshalText([]byte(rpo)); err != nil {
				return fmt.Errorf("--rpo: %w", err)
			}
			if _, err := p.DR(); err != nil {
				return err
			}
			p, err = api.PutPolicy(cmd.Context(), p)
			if err != nil {
				return fmt.Errorf("set policy %s: %w", args[0], err)
			}
			return out.One(a.Printer, p, p.Name, out.Field{Title: "Name", Text: p.Name},
				out.Field{Title: "RPO", Text: dr.FormatDuration(time.Duration(p.RPO))}, out.Field{Title: "Keep", Text: p.Keep})
		},
	}
	cmd.Flags().StringVar(&rpo, "rpo", rpo, "target age of the newest recovery point")
	cmd.Flags().StringVar(&keep, "keep", keep, "retention tiers")
	return cmd
}

func (a *App) policyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.Policies(cmd.Context())
			if err != nil {
				return fmt.Errorf("list policies: %w", err)
			}
			return out.List(a.Printer, list, func(p wire.Policy) string { return p.Name }, "no policies",
				out.Col("NAME", func(p wire.Policy) string { return p.Name }),
				out.Num("RPO", func(p wire.Policy) string { return dr.FormatDuration(time.Duration(p.RPO)) }),
				out.Col("KEEP", func(p wire.Policy) string { return p.Keep }))
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
