package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/extension"
)

func (a *App) extensionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "extension", Aliases: []string{"extensions"}, Short: "Extensions: software that must be alive in machines, such as monitoring agents",
		Long: `Extensions are software in machines that a site must know, such as monitoring agents. A failover copies them with the disks:
at the new site they run, say so, and are dead, because nobody there knows them. What machines have is recorded with every
recovery point, and restored after a failover by an action "extensions" of a recovery plan, or by:

  understudy extension restore GROUP

An extension is believed healthy when its heartbeat arrives at the collector of the site where it runs, and only then.`}
	cmd.AddCommand(a.extensionListCommand(), a.extensionInventoryCommand(), a.extensionInstallCommand(), a.extensionRemoveCommand(),
		a.extensionRestoreCommand(), a.extensionCollectorCommand(), a.catalogueCommand())
	return cmd
}

// extensionRow is one extension of one machine.
type extensionRow struct {
	Group    string    `json:"group"`
	Site     string    `json:"site,omitempty"`
	Machine  string    `json:"machine"`
	Observed time.Time `json:"observed"`
	dr.Extension
}

func extensionRows(list []wire.Inventory) []extensionRow {
	var rows []extensionRow
	for _, v := range list {
		for _, e := range v.Extensions {
			rows = append(rows, extensionRow{v.Group, v.Site, v.Machine, v.Observed, e})
		}
	}
	return rows
}

// heartbeatAge is how old the newest heartbeat was when the extension was last seen.
func heartbeatAge(r extensionRow) string {
	if r.Heartbeat.IsZero() {
		return ""
	}
	return out.Duration(max(0, r.Observed.Sub(r.Heartbeat)).Truncate(time.Second))
}

func extensionStyle(s dr.ExtensionStatus) out.StyleName {
	switch s {
	case dr.ExtensionHealthy:
		return out.Good
	case dr.ExtensionUnknown, "":
		return out.Dim
	}
	return out.Bad
}

func (a *App) extensionListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List extensions of all groups' machines and whether they are alive", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.AllExtensions(cmd.Context(), client.ListExtensionsQuery{})
			if err != nil {
				return fmt.Errorf("list extensions: %w", err)
			}
			type R = extensionRow
			return out.List(a.Printer, extensionRows(list), func(r R) string { return r.Site + "/" + r.Machine + "/" + r.Name },
				"no extensions seen: understudy extension install SITE/MACHINE NAME --rule RULE",
				out.Col("GROUP", func(r R) string { return r.Group }),
				out.Col("MACHINE", func(r R) string { return r.Site + "/" + r.Machine }),
				out.Col("EXTENSION", func(r R) string { return r.Name }),
				out.Col("VERSION", func(r R) string { return r.Version }),
				out.Column[R]{Title: "STATUS", Text: func(r R) string { return string(r.Status) }, Style: func(r R) out.StyleName { return extensionStyle(r.Status) }},
				out.Num("HEARTBEAT AGE", heartbeatAge),
				out.Col("SEEN", func(r R) string { return out.Ago(a.Now(), r.Observed) }),
				out.Col("NOTE", func(r R) string { return r.Message }))
		},
	}
}

func (a *App) extensionInventoryCommand() *cobra.Command {
	var point, from, file string
	var refresh bool
	var cloud cloudFlags
	cmd := &cobra.Command{
		Use: "inventory GROUP [--refresh | --point POINT] | --from RESOURCE-GROUP [--file FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Show what the machines of a group have, or had at a recovery point",
		Long: `Show what the machines of a group have, or had at a recovery point.

With --from, write down what the machines of an Azure resource group have, without a controller: for machines that another
product, such as Site Recovery, will fail over. extension restore --inventory puts it back.`,
		Example: `  understudy extension inventory shop --point latest
  understudy extension inventory --from shop-rg --set workspace=WORKSPACE-ID --file shop.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, false, "refresh", "point", "from"); err != nil {
				return err
			}
			if (len(args) == 1) == (from != "") {
				return usage(cmd, errors.New("name a group, or a resource group with --from"))
			}
			if from != "" {
				return a.writeInventory(cmd.Context(), from, file, cloud)
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			var list []wire.Inventory
			if point != "" {
				list, err = api.GroupExtensions(cmd.Context(), args[0], client.GroupExtensionsQuery{Point: point})
			} else {
				list, err = api.GroupExtensions(cmd.Context(), args[0], client.GroupExtensionsQuery{Refresh: refresh})
			}
			if err != nil {
				return fmt.Errorf("show extensions of %s: %w", args[0], err)
			}
			rows := extensionRows(list)
			if !a.Human() {
				return out.List(a.Printer, rows, func(r extensionRow) string { return r.Machine + "/" + r.Name }, "")
			}
			if len(rows) == 0 {
				a.Note("the machines of %s have no extensions of the catalogue", args[0])
				return nil
			}
			for i, r := range rows {
				if i > 0 {
					a.Line("")
				}
				if err := out.One(a.Printer, r, r.Name, a.extensionFields(r)...); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&point, "point", "", "what they had at this recovery point: latest, an ID or a time")
	cmd.Flags().BoolVar(&refresh, "refresh", false, "look at the machines first")
	cmd.Flags().StringVar(&from, "from", "", "an Azure resource group, looked at without a controller")
	cmd.Flags().StringVar(&file, "file", "", "where to write what --from finds (default: standard output)")
	cloud.add(cmd)
	return cmd
}

func (a *App) extensionFields(r extensionRow) []out.Field {
	var rules []string
	for _, as := range r.Associations {
		rules = append(rules, as.Rule)
	}
	where, status := r.Machine, a.Styled(extensionStyle(r.Status), string(r.Status))
	if r.Site != "" {
		where = r.Site + "/" + r.Machine
	}
	if r.Message != "" {
		status += ": " + r.Message
	}
	fields := []out.Field{
		{Title: "Extension", Text: strings.TrimSpace(r.Name + " " + r.Version)}, {Title: "Publisher", Text: r.Publisher},
		{Title: "Machine", Text: where}, {Title: "Status", Text: status}, {Title: "Rules", Text: strings.Join(rules, ", ")},
		{Title: "Settings", Text: settingsText(r.Settings)}, {Title: "Protected", Text: settingsText(r.Protected)},
		{Title: "Depends on", Text: strings.Join(r.DependsOn, ", ")},
	}
	if !r.Heartbeat.IsZero() {
		fields = append(fields, out.Field{Title: "Heartbeat", Text: heartbeatAge(r) + " old when seen"})
	}
	return append(fields, out.Field{Title: "Seen", Text: out.Ago(a.Now(), r.Observed)})
}

// siteMachine splits SITE/MACHINE.
func siteMachine(text string) (siteName, machine string, err error) {
	siteName, machine, ok := strings.Cut(text, "/")
	if !ok || siteName == "" || machine == "" {
		return "", "", invalid("write it as east/shop-db; understudy machine list shows the machines", "%q is no SITE/MACHINE", text)
	}
	return siteName, machine, nil
}

func (a *App) extensionInstallCommand() *cobra.Command {
	var in wire.ExtensionInstall
	var settings []string
	cmd := &cobra.Command{
		Use: "install SITE/MACHINE EXTENSION [--rule RULE]... [--set KEY=VALUE]...", Args: cobra.ExactArgs(2),
		Short:   "Install an extension in a machine and wait until it is alive",
		Example: `  understudy extension install east/shop-db metrics-agent --rule shop-east`,
		RunE: func(cmd *cobra.Command, args []string) error {
			siteName, machine, err := siteMachine(args[0])
			if err != nil {
				return err
			}
			in.Settings = map[string]string{}
			for _, kv := range settings {
				key, value, ok := strings.Cut(kv, "=")
				if !ok {
					return invalid("--set interval=10s", "setting %q is no KEY=VALUE", kv)
				}
				in.Settings[key] = value
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			done, err := api.InstallExtension(cmd.Context(), siteName, machine, args[1], in)
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, done, args[1])
			}
			alive := ""
			if done.Heartbeat != nil {
				alive = "; its heartbeat arrived at the collector of " + siteName
			}
			a.Line("%s is installed on %s%s", args[1], args[0], alive)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&in.Rules, "rule", nil, "a data-collection rule of the site's collector to associate it with")
	cmd.Flags().StringArrayVar(&settings, "set", nil, "a setting of the extension")
	return cmd
}

func (a *App) extensionRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove SITE/MACHINE EXTENSION", Short: "Remove an extension from a machine for good", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			siteName, machine, err := siteMachine(args[0])
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RemoveExtension(cmd.Context(), siteName, machine, args[1]); err != nil {
				return err
			}
			a.Note("removed %s from %s; points made before still name it", args[1], args[0])
			return nil
		},
	}
}

func (a *App) extensionRestoreCommand() *cobra.Command {
	var wait waitFlags
	var in wire.ExtensionRestore
	var f restoreFile
	cmd := &cobra.Command{
		Use: "restore GROUP [--dry-run] | --inventory FILE --to RESOURCE-GROUP [--dry-run]", Args: cobra.MaximumNArgs(1),
		Short: "Make every extension of a group healthy where the group runs",
		Long: `Compare what the machines of a group have with what they must have, and heal what differs: what is stale is removed, installed
again, registered at the site's collector, associated with the counterparts of its rules, and believed when a fresh heartbeat
has arrived. It can be repeated: what is alive is left as it is.

With --inventory, do that in an Azure resource group, without a controller: for machines that another product failed over, such as
Site Recovery, also from its runbook, which knows the names and the resource group in its RecoveryPlanContext.`,
		Example: `  understudy extension restore shop --dry-run
  understudy extension restore --inventory shop.json --to shop-rg-dr --set workspace=WORKSPACE-ID
  understudy extension restore --inventory shop.json --recovery-plan-context "$RecoveryPlanContext"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (f.inventory != "") {
				return usage(cmd, errors.New("name a group, or a file with --inventory"))
			}
			if f.inventory != "" {
				f.dryRun = in.DryRun
				return a.restoreFromFile(cmd.Context(), f)
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			run, err := api.RestoreExtensions(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "only see whether everything that is needed is there")
	flags := cmd.Flags()
	flags.StringVar(&f.inventory, "inventory", "", "a file that extension inventory --from wrote, or -")
	flags.StringVar(&f.to, "to", "", "the Azure resource group where the machines are now")
	flags.StringVar(&f.context, "recovery-plan-context", "", "RecoveryPlanContext of Site Recovery: JSON, a file, or -")
	flags.StringArrayVar(&f.as, "as", nil, "a machine has another name now: OLD=NEW; may be given again")
	f.cloud.add(cmd)
	wait.add(cmd)
	return cmd
}

// printExtensions writes what became of extensions in a run.
func (a *App) printExtensions(r wire.Run) {
	list, _ := r.Result["extensions"].([]any)
	text := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		outcome := text(m, "outcome")
		style := out.Good
		if outcome == string(dr.ExtensionNotRestored) {
			style = out.Bad
		}
		line := fmt.Sprintf("  %s on %s: %s", text(m, "extension"), text(m, "machine"), a.Styled(style, strings.ReplaceAll(outcome, "-", " ")))
		if reason := text(m, "reason"); reason != "" {
			line += ": " + reason
		}
		a.Line("%s", line)
	}
}

func (a *App) extensionCollectorCommand() *cobra.Command {
	var url, token, endpoint string
	var rules []string
	var none bool
	cmd := &cobra.Command{
		Use: "collector SITE [--url URL] [--token REFERENCE] [--endpoint URL] [--rule THEIRS=OURS]... | --none", Args: cobra.ExactArgs(1),
		Short: "Say where a site's collector of heartbeats is, and which of its rules take the place of others'",
		Long: `Say where the collector of a site is. With it the controller registers extensions there after a failover and sees whether their
heartbeats arrive. What is not given stays as it is.`,
		Example: `  understudy extension collector west --url http://127.0.0.1:9102 --token file:/srv/west-collector/admin.token \
      --endpoint http://10.0.2.100:9100 --rule shop-east=shop-west`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var in wire.SiteCollector
			empty := ""
			for _, f := range []struct {
				flag  string
				value string
				to    **string
			}{{"url", url, &in.URL}, {"token", token, &in.Token}, {"endpoint", endpoint, &in.Endpoint}, {"rule", strings.Join(rules, ","), &in.Rules}} {
				switch {
				case none && cmd.Flags().Changed(f.flag):
					return oneOf(cmd, true, "none", f.flag)
				case none:
					*f.to = &empty
				case cmd.Flags().Changed(f.flag):
					value := f.value
					if path, ok := strings.CutPrefix(value, "file:"); ok && f.flag == "token" {
						abs, err := filepath.Abs(path)
						if err != nil {
							return err
						}
						value = "file:" + abs
					}
					*f.to = &value
				}
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			var s wire.Site
			if in == (wire.SiteCollector{}) {
				s, err = api.ShowSite(cmd.Context(), args[0])
			} else {
				s, err = api.SetCollector(cmd.Context(), args[0], in)
			}
			if err != nil {
				return err
			}
			if s.Config[extension.KeyURL] == "" && a.Human() {
				a.Note("site %s has no collector", s.Name)
				return nil
			}
			return out.One(a.Printer, s, s.Name, out.Field{Title: "Site", Text: s.Name}, out.Field{Title: "URL", Text: s.Config[extension.KeyURL]},
				out.Field{Title: "Token", Text: s.Config[extension.KeyToken]}, out.Field{Title: "Endpoint", Text: s.Config[extension.KeyEndpoint]},
				out.Field{Title: "Rules", Text: s.Config[extension.KeyRules]})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&url, "url", "", "where the controller reaches the collector")
	flags.StringVar(&token, "token", "", "where its administrator's token is kept: file:PATH or env:NAME at the controller")
	flags.StringVar(&endpoint, "endpoint", "", "where guests reach it (default: the URL)")
	flags.StringArrayVar(&rules, "rule", nil, "THEIRS=OURS: which of its rules takes the place of another site's; all at once")
	flags.BoolVar(&none, "none", false, "the site has no collector")
	return cmd
}

func (a *App) catalogueCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "catalogue", Short: "The extension catalogue: what extensions are and how they are handled"}
	cmd.AddCommand(a.catalogueListCommand(), a.catalogueShowCommand(), a.catalogueAddCommand(), a.catalogueValidateCommand(), a.catalogueRemoveCommand())
	return cmd
}

func (a *App) catalogueListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the catalogue", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListCatalogue(cmd.Context())
			if err != nil {
				return fmt.Errorf("list the catalogue: %w", err)
			}
			type E = wire.CatalogueEntry
			return out.List(a.Printer, list, func(e E) string { return e.Name }, "the catalogue is empty",
				out.Col("NAME", func(e E) string { return e.Name }),
				out.Col("VERSION", func(e E) string { return e.Version }),
				out.Col("PUBLISHER", func(e E) string { return e.Publisher }),
				out.Col("FOR", func(e E) string { return strings.Join(slices.Sorted(maps.Keys(e.Handlers)), ", ") }),
				out.Col("HEARTBEAT", func(e E) string { return e.Heartbeat }),
				out.Col("FROM", func(e E) string {
					if e.Builtin {
						return "the program"
					}
					return "a person"
				}),
				out.Col("ABOUT", func(e E) string { return e.Description }))
		},
	}
}

func (a *App) catalogueShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show an entry of the catalogue", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListCatalogue(cmd.Context())
			if err != nil {
				return fmt.Errorf("show extension %s: %w", args[0], err)
			}
			for _, e := range list {
				if e.Name != args[0] {
					continue
				}
				if a.Human() && e.Text != "" {
					_, err := io.WriteString(a.Out, e.Text)
					return err
				}
				if a.Human() {
					return out.One(&out.Printer{Out: a.Out, Err: a.Err, Format: out.YAML}, e, e.Name)
				}
				return out.One(a.Printer, e, e.Name)
			}
			return dr.WithHint(fmt.Errorf("no extension named %q", args[0]), dr.KindNotFound, "understudy extension catalogue list")
		},
	}
}

func (a *App) catalogueAddCommand() *cobra.Command {
	return &cobra.Command{
		Use: "add FILE", Short: "Add an entry to the catalogue, or replace the one of its name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, text, err := readEntry(args[0])
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			added, err := api.AddCatalogueEntry(cmd.Context(), wire.CatalogueText{File: args[0], Text: string(text)})
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, added, added.Name)
			}
			a.Line("%s %s is in the catalogue; machines that have it are found in the next minute", e.Name, e.Version)
			return nil
		},
	}
}

func readEntry(file string) (extension.Entry, []byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return extension.Entry{}, nil, dr.WithHint(err, dr.KindNotFound, "")
	}
	e, err := extension.Parse(file, text)
	return e, text, err
}

func (a *App) catalogueValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", Short: "Check an entry, without a controller", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			e, _, err := readEntry(args[0])
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, e, e.Name)
			}
			a.Line("%s: %s %s is valid", args[0], e.Name, e.Version)
			return nil
		},
	}
}

func (a *App) catalogueRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove an entry that was added; machines keep what is installed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RemoveCatalogueEntry(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("remove extension %s: %w", args[0], err)
			}
			a.Note("removed %s from the catalogue; machines keep what is installed", args[0])
			return nil
		},
	}
}
