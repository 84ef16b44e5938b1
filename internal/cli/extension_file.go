package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/recovery/action"
	"understudy/internal/registry"
	"understudy/internal/scratch"
	"understudy/internal/site"
)

// Extensions of machines that no controller and no vault knows: those that Site Recovery replicates, for example.

// maxInventory bounds an inventory file, in bytes.
const maxInventory = 64 << 20

// cloudFlags say where the machines are.
type cloudFlags struct {
	subscription string
	settings     []string
}

func (f *cloudFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.subscription, "subscription", os.Getenv("AZURE_SUBSCRIPTION_ID"), "subscription of the resource group (AZURE_SUBSCRIPTION_ID)")
	cmd.Flags().StringArrayVar(&f.settings, "set", nil, "a setting of an azure site, such as workspace=ID or cloud=usgov (docs/azure.md); may be given again")
}

// A cloudGroup is a resource group, open as a site.
type cloudGroup struct {
	*extension.Manager
	site   string
	driver site.Driver
	close  func()
}

// resourceGroup opens a resource group as a site.
func (a *App) resourceGroup(name string, f cloudFlags) (c cloudGroup, err error) {
	s := dr.Site{Name: name, Provider: "azure", Config: map[string]string{"resource-group": name, "subscription": f.subscription}}
	if f.subscription == "" {
		delete(s.Config, "subscription")
	}
	for _, text := range f.settings {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return c, invalid("write, for example, --set workspace=ID", "setting %q is not of the form KEY=VALUE", text)
		}
		s.Config[key] = value
	}
	dir, remove, err := scratch.Dir()
	if err != nil {
		return c, err
	}
	c.site, c.close = s.Name, remove
	if c.driver, err = registry.Driver(s, registry.Options{Dir: dir, Now: a.Now}); err != nil {
		remove()
		return c, err
	}
	c.Manager = extension.New(extension.Options{
		Driver:    func(context.Context, string) (site.Driver, error) { return c.driver, nil },
		Site:      func(context.Context, string) (dr.Site, error) { return s, nil },
		Catalogue: func(context.Context) (extension.Catalogue, error) { return extension.Builtin() },
	})
	return c, nil
}

// writeInventory writes what the machines of a resource group have.
func (a *App) writeInventory(ctx context.Context, group, file string, f cloudFlags) error {
	c, err := a.resourceGroup(group, f)
	if err != nil {
		return err
	}
	defer c.close()
	machines, err := c.driver.Machines(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	found, err := c.Observe(ctx, c.site, names, nil)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(extension.NewInventoryFile(group, a.Now().UTC(), machines, found), "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if file == "" || file == "-" {
		_, err = a.Out.Write(data)
		return err
	}
	part, err := scratch.Part(file)
	if err != nil {
		return dr.WithHint(err, dr.KindInvalid, "choose a folder that can be written to")
	}
	_, err = part.Write(data)
	if err = errors.Join(err, part.Sync(), part.Close()); err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	count := 0
	for _, list := range found {
		count += len(list)
	}
	a.Note("%d machines with %d extensions: %s", len(machines), count, file)
	return nil
}

// restoreFile are the flags of restoring from a file.
type restoreFile struct {
	inventory, to, context string
	as                     []string
	dryRun                 bool
	cloud                  cloudFlags
}

// restoreFromFile makes the extensions of an inventory file healthy in a resource group.
func (a *App) restoreFromFile(ctx context.Context, f restoreFile) error {
	data, err := a.readSmall(f.inventory, maxInventory)
	if err != nil {
		return err
	}
	inventory, err := extension.ParseInventory(f.inventory, data)
	if err != nil {
		return err
	}
	as := map[string]string{}
	if f.context != "" {
		if err := a.planContext(&f, inventory, as); err != nil {
			return err
		}
	}
	for _, text := range f.as {
		from, to, ok := strings.Cut(text, "=")
		if !ok || from == "" || to == "" {
			return invalid("write, for example, --as db=db-test", "%q is not of the form OLD=NEW", text)
		}
		as[from] = to
	}
	if f.to == "" {
		return invalid("--to RESOURCE-GROUP, or a --recovery-plan-context that has one", "it is not said where the machines are now")
	}
	c, err := a.resourceGroup(f.to, f.cloud)
	if err != nil {
		return err
	}
	defer c.close()
	there, err := c.driver.Machines(ctx)
	if err != nil {
		return err
	}
	machines, names, missing := inventory.Match(there, as)
	results, err := c.Restore(ctx, extension.Request{Source: inventory.Source, Target: c.site, Machines: machines, As: names, Rehearsal: f.dryRun,
		Say: func(format string, args ...any) { a.Note(format, args...) }})
	if err != nil {
		return err
	}
	return a.printRestored(append(results, missing...))
}

// planContext takes from Site Recovery's RecoveryPlanContext which machines are meant, what they are called now and where
// they are. Of a test failover they have a suffix.
func (a *App) planContext(f *restoreFile, inventory extension.InventoryFile, as map[string]string) error {
	text := []byte(f.context)
	if !strings.HasPrefix(strings.TrimSpace(f.context), "{") {
		var err error
		if text, err = a.readSmall(f.context, 1<<20); err != nil {
			return err
		}
	}
	var c action.Context
	if err := json.Unmarshal(text, &c); err != nil {
		return dr.WithHint(fmt.Errorf("recovery plan context: %w", err), dr.KindInvalid,
			"give the RecoveryPlanContext that Site Recovery hands to the runbook: as JSON, as a file, or - for standard input")
	}
	groups := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(c.VmMap)) {
		vm := c.VmMap[id]
		groups[vm.ResourceGroupName] = true
		if f.cloud.subscription == "" {
			f.cloud.subscription = vm.SubscriptionId
		}
		for _, m := range inventory.Machines {
			if strings.EqualFold(vm.RoleName, m.Name) || strings.EqualFold(vm.RoleName, m.Name+"-test") {
				as[m.Name] = vm.RoleName
			}
		}
	}
	delete(groups, "")
	if f.to == "" && len(groups) == 1 {
		f.to = slices.Collect(maps.Keys(groups))[0]
	}
	if f.to == "" && len(groups) > 1 {
		return invalid("restore each with --to RESOURCE-GROUP", "the machines of the recovery plan are in %d resource groups", len(groups))
	}
	return nil
}

// readSmall reads a file, or standard input for "-".
func (a *App) readSmall(file string, limit int64) ([]byte, error) {
	in := io.Reader(a.In)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, dr.WithHint(err, dr.KindNotFound, "give a file that can be read")
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = invalid("", "%s is longer than %d bytes", file, limit)
	}
	return data, err
}

func (a *App) printRestored(list []dr.ExtensionResult) error {
	failed := 0
	cols := []out.Column[dr.ExtensionResult]{
		out.Col("MACHINE", func(r dr.ExtensionResult) string { return r.Machine }),
		out.Col("EXTENSION", func(r dr.ExtensionResult) string { return r.Extension }),
		out.Col("OUTCOME", func(r dr.ExtensionResult) string { return strings.ReplaceAll(string(r.Outcome), "-", " ") }),
		out.Col("HEARTBEAT", func(r dr.ExtensionResult) string {
			if r.Heartbeat.IsZero() {
				return "-"
			}
			return out.Ago(a.Now(), r.Heartbeat)
		}),
		out.Col("REASON", func(r dr.ExtensionResult) string { return r.Reason }),
	}
	for _, r := range list {
		if r.Outcome == dr.ExtensionNotRestored {
			failed++
		}
	}
	if err := out.List(a.Printer, list, func(r dr.ExtensionResult) string { return r.Machine + "/" + r.Extension }, "no extension is in the inventory", cols...); err != nil {
		return err
	}
	if failed > 0 {
		return dr.WithHint(fmt.Errorf("%d of %d extensions are not healthy: %w", failed, len(list), out.ErrChecks), dr.KindConflict, "mend what the reasons name, and run it again: what is healthy is left as it is")
	}
	return nil
}
