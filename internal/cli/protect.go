package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/local"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/replicate"
)

func (a *App) protectCommand() *cobra.Command {
	var place vaultFlags
	var moved bool
	var g groupFlags
	cmd := &cobra.Command{
		Use:   "protect FILE... --vault DIR | --group NAME --site SITE ... | -f GROUP.yaml",
		Short: "Send disk image files to a vault, or have the controller protect machines",
		Long: `With files, protect sends what changed in them to a vault once, without a controller. Several files are the disks of
one machine. The first time makes the vault and its key; every time makes one recovery point if anything changed.

With --site or -f, protect tells the controller to replicate running machines from now on.`,
		Example: `  understudy protect ./disk.qcow2 --vault ./v
  understudy protect system.raw data.raw --group db --vault /srv/vault
  understudy protect --group shop --site east --target west --vault main --policy gold \
      --machine shop-db:order=1,probe=tcp:7000 --machine shop-web:order=2,probe=http:8080/health
  understudy protect -f group.yaml
  understudy protect -f group.yaml --before-freeze "shop-db=shop quiesce" --after-freeze "shop-db=shop resume"`,
		RunE: func(cmd *cobra.Command, files []string) error {
			switch {
			case len(files) > 0 && g.wanted():
				return usage(cmd, fmt.Errorf("files are protected without a controller: leave out --site and --file"))
			case len(files) > 0:
				return a.protectFiles(cmd, files, place, moved)
			case g.wanted():
				return a.protectGroup(cmd, g, place)
			}
			return usage(cmd, fmt.Errorf("nothing to protect: name disk image files, or a --site and its machines"))
		},
	}
	place.add(cmd, true)
	cmd.Flags().BoolVar(&moved, "moved", false, "the files are the group's disks at a new place")
	g.add(cmd)
	return cmd
}

// fileResult is what one protect of files did.
type fileResult struct {
	Group   string            `json:"group"`
	Kind    string            `json:"kind"`
	Point   *dr.RecoveryPoint `json:"point"` // null when nothing changed
	Read    int64             `json:"read"`
	Changed int64             `json:"changed"`
	Stored  int64             `json:"stored"`
	Seconds float64           `json:"seconds"`
	Reason  string            `json:"reason,omitempty"`
	Vault   string            `json:"vault"`
	VaultID string            `json:"vaultID"`
	KeyFile string            `json:"keyFile,omitempty"`
	NewKey  bool              `json:"newKey,omitempty"`
}

func (a *App) protectFiles(cmd *cobra.Command, files []string, f vaultFlags, moved bool) error {
	ctx := cmd.Context()
	opener, err := a.opener()
	if err != nil {
		return err
	}
	place, err := a.place(ctx, f)
	if err != nil {
		return err
	}
	req := local.ProtectRequest{Files: files, Group: f.group, Moved: moved}
	req.Waiting = func(most time.Duration) {
		a.Note("another protect has this group, or one was killed and its lease still runs: waiting, at most %s", out.Duration(most))
	}
	if err := local.Check(ctx, req); err != nil {
		return err
	}
	v, err := opener.OpenOrCreate(ctx, place)
	if err != nil {
		return err
	}
	if v.NewKey {
		a.noticeKey(v)
	}
	a.OnInterrupt("stopping; what was sent is kept, and the same command goes on from there. Ctrl-C again stops at once")
	bar := a.Transfer("protect " + filepath.Base(files[0]))
	req.Progress = func(p replicate.Progress) { bar.Update(p.Done, p.Total) }
	group, res, err := local.Protect(ctx, opener, v, req)
	bar.Finish()
	if err != nil {
		return err
	}
	r := fileResult{Group: group, Kind: res.Kind, Point: res.Point, Read: res.Read, Changed: res.Changed, Stored: res.Stored,
		Seconds: res.Took.Seconds(), Reason: res.Reason, Vault: v.Dir(), VaultID: v.ID(), KeyFile: v.KeyFile, NewKey: v.NewKey}
	if !a.Human() {
		id := ""
		if res.Point != nil {
			id = res.Point.ID
		}
		return out.One(a.Printer, r, id)
	}
	if res.Kind == replicate.KindUnchanged {
		a.Line("%s: unchanged; read %s in %s", group, out.Bytes(res.Read), out.Duration(res.Took))
		return nil
	}
	id := "-"
	if res.Point != nil {
		id = res.Point.ID
	}
	a.Line("%s: %s, point %s; read %s, changed %s, stored %s in %s", group, res.Kind, id,
		out.Bytes(res.Read), out.Bytes(res.Changed), out.Bytes(res.Stored), out.Duration(res.Took))
	return nil
}

// noticeKey tells where a new key is. It is said even with --quiet: without the key nothing can be recovered.
func (a *App) noticeKey(v *keyring.Opened) {
	fmt.Fprintf(a.Err, `made vault %s and its key:
  %s
Without the key nothing can be recovered. KEEP A COPY of it on another machine.
`, v.Dir(), v.KeyFile)
}

// groupFlags describe a group for the controller.
type groupFlags struct {
	file     string
	site     string
	target   string
	policy   string
	machines []string
	before   []string
	after    []string
}

func (g *groupFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&g.file, "file", "f", "", "read the group from a YAML file")
	f.StringVar(&g.site, "site", "", "the site where the machines run")
	f.StringVar(&g.target, "target", "", "the site where they are recovered (default: the same site)")
	f.StringVar(&g.policy, "policy", "default", "the replication policy")
	f.StringArrayVar(&g.machines, "machine", nil, "a machine: NAME[:order=N][,probe=tcp:PORT|http:PORT/PATH|serial:TEXT|agent][,timeout=1m]")
	f.StringArrayVar(&g.before, "before-freeze", nil, "a shell command that prepares the applications of a machine for a consistent point: NAME=COMMAND")
	f.StringArrayVar(&g.after, "after-freeze", nil, "a shell command that lets them go on: NAME=COMMAND")
}

func (g *groupFlags) wanted() bool { return g.file != "" || g.site != "" }

// parseMachine reads the value of --machine.
func parseMachine(s string) (m dr.MachinePolicy, err error) {
	bad := func(format string, args ...any) error {
		return invalid("for example --machine shop-db:order=1,probe=tcp:7000,timeout=1m", "machine %q: %s", s, fmt.Sprintf(format, args...))
	}
	name, rest, _ := strings.Cut(s, ":")
	if name == "" {
		return m, bad("it has no name")
	}
	m.Name = name
	for part := range strings.SplitSeq(rest, ",") {
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return m, bad("%q is no key=value", part)
		}
		switch key {
		case "order":
			if _, err := fmt.Sscanf(value+"\n", "%d\n", &m.Order); err != nil {
				return m, bad("order %q is no number", value)
			}
		case "timeout":
			if m.Probe.Timeout, err = dr.ParseDuration(value); err != nil {
				return m, bad("timeout: %v", err)
			}
		case "probe":
			timeout := m.Probe.Timeout
			if m.Probe, err = parseProbe(value); err != nil {
				return m, bad("%v", err)
			}
			m.Probe.Timeout = timeout
		default:
			return m, bad("unknown key %q", key)
		}
	}
	return m, nil
}

func parseProbe(s string) (p dr.Probe, err error) {
	kind, arg, _ := strings.Cut(s, ":")
	p.Kind = dr.ProbeKind(kind)
	port := func(s string) error {
		if _, err := fmt.Sscanf(s+"\n", "%d\n", &p.Port); err != nil || p.Port < 1 || p.Port > 65535 {
			return fmt.Errorf("probe port %q is not between 1 and 65535", s)
		}
		return nil
	}
	switch p.Kind {
	case dr.ProbeTCP:
		return p, port(arg)
	case dr.ProbeHTTP:
		number, path, _ := strings.Cut(arg, "/")
		p.Path = "/" + path
		return p, port(number)
	case dr.ProbeSerial:
		if arg == "" {
			return p, fmt.Errorf("probe serial has no text to wait for")
		}
		p.Text = arg
		return p, nil
	case dr.ProbeAgent:
		if arg != "" {
			return p, fmt.Errorf("probe agent takes nothing")
		}
		return p, nil
	}
	return p, fmt.Errorf("unknown probe %q: use tcp, http, serial or agent", kind)
}

// groupFile is a group as a YAML file describes it.
type groupFile struct {
	Name     string              `yaml:"name"`
	Site     string              `yaml:"site"`
	Target   string              `yaml:"target"`
	Vault    string              `yaml:"vault"`
	Policy   string              `yaml:"policy"`
	Machines []wire.GroupMachine `yaml:"machines"`
}

// group gathers the group that the flags and the file describe; flags win.
func (g groupFlags) group(cmd *cobra.Command, f vaultFlags) (wire.Group, error) {
	var w wire.Group
	if g.file != "" {
		data, err := os.ReadFile(g.file)
		if err != nil {
			return w, dr.WithHint(fmt.Errorf("read group: %w", err), dr.KindNotFound, "check the file's name")
		}
		var y groupFile
		if err := yaml.UnmarshalWithOptions(data, &y, yaml.Strict()); err != nil {
			return w, invalid("keys: name, site, target, vault, policy, machines (name, order, probe, hooks)", "read group %s: %s", g.file, yaml.FormatError(err, false, true))
		}
		w = wire.Group{Name: y.Name, Site: y.Site, Target: y.Target, Vault: y.Vault, Policy: y.Policy, Machines: y.Machines}
	}
	set := func(field *string, flag, value string) {
		if cmd.Flags().Changed(flag) || *field == "" {
			*field = value
		}
	}
	set(&w.Name, "group", f.group)
	set(&w.Site, "site", g.site)
	set(&w.Target, "target", g.target)
	set(&w.Vault, "vault", f.vault)
	set(&w.Policy, "policy", g.policy)
	if len(g.machines) > 0 {
		w.Machines = nil
	}
	for _, text := range g.machines {
		m, err := parseMachine(text)
		if err != nil {
			return w, err
		}
		w.Machines = append(w.Machines, wire.FromGroup(dr.Group{Machines: []dr.MachinePolicy{m}}).Machines...)
	}
	if err := g.addHooks(&w); err != nil {
		return w, err
	}
	var missing []string
	for _, need := range []struct{ name, value string }{{"--group", w.Name}, {"--site", w.Site}, {"--vault", w.Vault}} {
		if need.value == "" {
			missing = append(missing, need.name)
		}
	}
	if len(w.Machines) == 0 {
		missing = append(missing, "--machine")
	}
	if len(missing) > 0 {
		return w, usage(cmd, fmt.Errorf("the group is not complete: give %s", joinNames(missing)))
	}
	return w, nil
}

// addHooks gives machines of a group the hooks that the flags name.
func (g groupFlags) addHooks(w *wire.Group) error {
	for _, f := range []struct {
		flag string
		list []string
		set  func(*wire.Hooks, []string)
	}{
		{"before-freeze", g.before, func(h *wire.Hooks, argv []string) { h.Before = argv }},
		{"after-freeze", g.after, func(h *wire.Hooks, argv []string) { h.After = argv }},
	} {
		for _, text := range f.list {
			name, command, ok := strings.Cut(text, "=")
			if !ok || command == "" {
				return invalid(`for example --before-freeze "shop-db=shop quiesce"`, "--%s %q is no NAME=COMMAND", f.flag, text)
			}
			i := slices.IndexFunc(w.Machines, func(m wire.GroupMachine) bool { return m.Name == name })
			if i < 0 {
				return invalid("name a machine of the group", "--%s %q: the group has no machine %s", f.flag, text, name)
			}
			if w.Machines[i].Hooks == nil {
				w.Machines[i].Hooks = &wire.Hooks{}
			}
			f.set(w.Machines[i].Hooks, []string{"/bin/sh", "-c", command})
		}
	}
	return nil
}

// protectGroup has the controller protect a group.
func (a *App) protectGroup(cmd *cobra.Command, g groupFlags, f vaultFlags) error {
	ctx := cmd.Context()
	w, err := g.group(cmd, f)
	if err != nil {
		return err
	}
	if isFolder(w.Vault) {
		return invalid("understudy vault add main "+w.Vault+", then --vault main", "a controller's vault has a name")
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	done, err := api.Protect(ctx, w)
	if err != nil {
		return err
	}
	if !a.Human() {
		return out.One(a.Printer, done, done.Name)
	}
	var names []string
	for _, m := range done.Machines {
		names = append(names, m.Name)
	}
	a.Line("%s: protected (%s), from %s to %s in vault %s, policy %s", done.Name, joinNames(names), done.Site, done.Target, done.Vault, done.Policy)
	a.Note("see how it goes: understudy status %s", done.Name)
	return nil
}
