package cli

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/registry"
)

func (a *App) siteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "site", Aliases: []string{"sites"}, Short: "Sites: where machines run"}
	cmd.AddCommand(a.siteAddCommand(), a.siteListCommand(), a.siteShowCommand(), a.siteDoctorCommand(), a.siteSweepCommand(), a.siteRemoveCommand())
	return cmd
}

func (a *App) siteAddCommand() *cobra.Command {
	var s wire.Site
	var settings []string
	var long strings.Builder
	long.WriteString("Tell the controller of a site.\n\nProviders and their settings:\n")
	var providers []string
	for _, p := range registry.Providers() {
		fmt.Fprintf(&long, "  %-7s %s\n          --set %s\n", p.Name, p.About, strings.Join(p.Config, "  --set "))
		providers = append(providers, p.Name)
	}
	cmd := &cobra.Command{
		Use: "add NAME --provider PROVIDER --set KEY=VALUE...", Short: "Add a site", Long: long.String(), Args: cobra.ExactArgs(1),
		Example: `  understudy site add east --provider qemu --set dir=/srv/east`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "provider"); err != nil {
				return err
			}
			s.Name, s.Config = args[0], map[string]string{}
			for _, kv := range settings {
				key, value, ok := strings.Cut(kv, "=")
				if !ok {
					return invalid("--set dir=/srv/east", "setting %q is no KEY=VALUE", kv)
				}
				// The controller has another working folder.
				if key == "dir" || strings.HasPrefix(key, "machine.") {
					files := strings.Split(value, ",")
					for i, f := range files {
						abs, err := filepath.Abs(f)
						if err != nil {
							return err
						}
						files[i] = abs
					}
					value = strings.Join(files, ",")
				}
				s.Config[key] = value
			}
			if err := registry.Check(s.DR()); err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			added, err := api.AddSite(cmd.Context(), s)
			if err != nil {
				return err
			}
			return a.printSite(added)
		},
	}
	cmd.Flags().StringVar(&s.Provider, "provider", "", strings.Join(providers, " or "))
	cmd.Flags().StringArrayVar(&settings, "set", nil, "a setting of the provider")
	return cmd
}

func settingsText(config map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(config)) {
		list = append(list, key+"="+config[key])
	}
	return strings.Join(list, " ")
}

func (a *App) printSite(s wire.Site) error {
	return out.One(a.Printer, s, s.Name, out.Field{Title: "Name", Text: s.Name}, out.Field{Title: "Provider", Text: s.Provider},
		out.Field{Title: "Settings", Text: settingsText(s.Config)})
}

func (a *App) siteListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List sites", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListSites(cmd.Context())
			if err != nil {
				return fmt.Errorf("list sites: %w", err)
			}
			return out.List(a.Printer, list, func(s wire.Site) string { return s.Name }, "no sites yet: understudy site add NAME --provider qemu --set dir=DIR",
				out.Col("NAME", func(s wire.Site) string { return s.Name }),
				out.Col("PROVIDER", func(s wire.Site) string { return s.Provider }),
				out.Col("SETTINGS", func(s wire.Site) string { return settingsText(s.Config) }))
		},
	}
}

func (a *App) siteShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a site", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			s, err := api.ShowSite(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printSite(s)
		},
	}
}

func (a *App) siteRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a site; its machines stay as they are", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RemoveSite(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("forgot site %s; its machines stay as they are", args[0])
			return nil
		},
	}
}
