package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func (a *App) siteDoctorCommand() *cobra.Command {
	var role bool
	cmd := &cobra.Command{
		Use: "doctor NAME [--role]", Short: "Examine a site: access, rights, networks, quota, leftovers",
		Long: `Examine a site, without changing anything. Exits with 8 when something fails; warnings do not count.
With --role, print what the identity that the site is used by must be allowed, as the provider's tools take it.`,
		Example: `  understudy site doctor paris
  understudy site doctor paris --role > role.json && az role definition create --role-definition role.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			e, err := api.ExamineSite(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("examine site %s: %w", args[0], err)
			}
			if role {
				if e.Role == "" {
					return invalid("the rights of its files and programs are those of the controller", "site %s needs no role", args[0])
				}
				a.Line("%s", e.Role)
				return nil
			}
			list := make([]finding, len(e.Findings))
			for i, f := range e.Findings {
				list[i] = finding(wire.Finding(f))
			}
			return a.printFindings("site "+args[0], list)
		},
	}
	cmd.Flags().BoolVar(&role, "role", false, "print the role that the site's identity needs")
	return cmd
}

func (a *App) siteSweepCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "sweep NAME [--dry-run]", Short: "Remove what Understudy made at a site and what belongs to nothing any more",
		Long: "Remove what Understudy made at a site, by its tags, and what belongs to no machine any more: a dead controller's whose state was lost, say.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.SweepSite(cmd.Context(), args[0], client.SweepSiteQuery{DryRun: dryRun})
			if err != nil {
				return fmt.Errorf("sweep site %s: %w", args[0], err)
			}
			return out.List(a.Printer, list, func(id string) string { return id }, "nothing to remove",
				out.Col(map[bool]string{true: "TO BE REMOVED", false: "REMOVED"}[dryRun], func(id string) string { return id }))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list it only")
	return cmd
}
