package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/local"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/registry"
	"understudy/internal/vault"
)

func (a *App) vaultCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "vault", Aliases: []string{"vaults"}, Short: "Vaults: where recovery points are kept"}
	cmd.AddCommand(a.vaultInitCommand(), a.vaultVerifyCommand(), a.vaultStatsCommand(), a.vaultCostCommand(), a.vaultCompactCommand(), a.vaultRepairCommand(),
		a.vaultAddCommand(), a.vaultListCommand(), a.vaultRemoveCommand())
	return cmd
}

func (a *App) vaultInitCommand() *cobra.Command {
	var key string
	var lock lockFlags
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Make a vault and its key", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opener, err := a.opener()
			if err != nil {
				return err
			}
			url, err := registry.VaultURL(args[0])
			if err != nil {
				return err
			}
			var asked wire.Vault
			if err := lock.set(&asked); err != nil {
				return err
			}
			v, err := opener.Create(cmd.Context(), keyring.Place{URL: url, Key: key, Lock: asked.LockRule()})
			if err != nil {
				return err
			}
			if v.NewKey {
				a.noticeKey(v)
			}
			a.Line("made vault %s", v.ID())
			if a.Human() {
				return nil
			}
			return out.One(a.Printer, wire.Vault{ID: v.ID(), URL: v.URL, KeyFile: v.KeyFile, Made: true, NewKey: v.NewKey}, v.ID())
		},
	}
	cmd.Flags().StringVar(&key, "key", os.Getenv("UNDERSTUDY_KEY_FILE"), "use this key file instead of a new key")
	lock.add(cmd)
	return cmd
}

// eachGroup opens the vault that the flags name and calls fn for the group they choose, or for all.
func (a *App) eachGroup(ctx context.Context, f vaultFlags, fn func(v *keyring.Opened, group string) error) error {
	opener, err := a.opener()
	if err != nil {
		return err
	}
	place, err := a.place(ctx, f)
	if err != nil {
		return err
	}
	v, err := opener.Open(ctx, place)
	if err != nil {
		return err
	}
	groups, err := v.Groups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	if f.group != "" {
		group, err := v.Group(ctx, f.group)
		if err != nil {
			return err
		}
		groups = []string{group}
	}
	for _, g := range groups {
		if err := fn(v, g); err != nil {
			return err
		}
	}
	return nil
}

// damage is what vault verify says of one corrupt object.
type damage struct {
	Object string   `json:"object"`
	Error  string   `json:"error"`
	Points []string `json:"points"`
}

// verified is what vault verify says of one group.
type verified struct {
	Group   string   `json:"group"`
	OK      bool     `json:"ok"`
	Depth   string   `json:"depth"` // contents, or digests where the key is not here
	Objects int      `json:"objects"`
	Bytes   int64    `json:"bytes"`
	Good    []string `json:"good"`
	Spoiled []string `json:"spoiled"`
	Corrupt []damage `json:"corrupt"`
	Forks   []string `json:"forks"`
}

func (a *App) vaultVerifyCommand() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use: "verify [--vault] DIR", Short: "Read everything and compare it with its checksums",
		Long: `Read everything in a vault and compare it with its checksums. With the key the contents' tables are opened too.
Exits with 6 when anything is corrupt.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.take(args)
			var list []verified
			bad := 0
			err := a.eachGroup(cmd.Context(), f, func(v *keyring.Opened, group string) error {
				bar := a.Transfer("verify " + group)
				r, err := v.Verify(cmd.Context(), group, bar.Update)
				bar.Finish()
				if err != nil {
					return fmt.Errorf("verify %s: %w", group, err)
				}
				res := verified{Group: group, OK: len(r.Corrupt)+len(r.Spoiled)+len(r.Forks) == 0, Depth: "digests", Objects: r.Objects,
					Bytes: r.Bytes, Good: orNone(r.Good), Spoiled: orNone(r.Spoiled), Forks: orNone(r.Forks), Corrupt: []damage{}}
				if v.CanRead() {
					res.Depth = "contents"
				}
				for _, d := range r.Corrupt {
					res.Corrupt = append(res.Corrupt, damage{d.Object, d.Error, orNone(d.Points)})
				}
				if !res.OK {
					bad++
				}
				list = append(list, res)
				return nil
			})
			if err != nil {
				return err
			}
			if err := a.printVerified(list); err != nil {
				return err
			}
			if bad > 0 {
				return dr.WithHint(fmt.Errorf("verify: %s damaged", out.Plural(bad, "group")), dr.KindCorrupt,
					"the points named good can be restored; the next protect of a spoiled group adds a sound point")
			}
			return nil
		},
	}
	f.add(cmd, true)
	return cmd
}

func (a *App) printVerified(list []verified) error {
	if !a.Human() {
		return out.List(a.Printer, list, func(v verified) string { return v.Group }, "")
	}
	if len(list) == 0 {
		a.Note("nothing is in this vault yet")
	}
	for _, v := range list {
		word := a.Styled(out.Good, "sound")
		if !v.OK {
			word = a.Styled(out.Bad, "DAMAGED")
		}
		a.Line("%s: %s; %s good, %d spoiled; read %s in %s (%s)", v.Group, word, out.Plural(len(v.Good), "point"), len(v.Spoiled),
			out.Bytes(v.Bytes), out.Plural(v.Objects, "object"), v.Depth)
		for _, d := range v.Corrupt {
			a.Line("  %s: %s; spoils %s", d.Object, d.Error, cmp.Or(joinNames(d.Points), "no point"))
		}
		if len(v.Spoiled) > 0 {
			a.Line("  good points: %s", cmp.Or(joinNames(v.Good), "none"))
		}
		if len(v.Forks) > 0 {
			a.Line("  history forks at %s", joinNames(v.Forks))
		}
	}
	return nil
}

func (a *App) vaultStatsCommand() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use: "stats [--vault] DIR", Short: "Count what is in a vault; no key is needed", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.take(args)
			type stats struct {
				Group string `json:"group"`
				vault.Stats
			}
			var list []stats
			err := a.eachGroup(cmd.Context(), f, func(v *keyring.Opened, group string) error {
				s, err := v.Stats(cmd.Context(), group)
				list = append(list, stats{group, s})
				return err
			})
			if err != nil {
				return err
			}
			return out.List(a.Printer, list, func(s stats) string { return s.Group }, "nothing is in this vault yet",
				out.Col("GROUP", func(s stats) string { return s.Group }),
				out.Num("POINTS", func(s stats) string { return fmt.Sprint(s.Points) }),
				out.Col("OLDEST", func(s stats) string { return out.Time(s.Oldest) }),
				out.Col("NEWEST", func(s stats) string { return out.Time(s.Newest) }),
				out.Num("STORED", func(s stats) string { return out.Bytes(s.Bytes) }),
				out.Num("DISKS", func(s stats) string { return out.Bytes(s.DiskBytes) }),
				out.Num("OBJECTS", func(s stats) string { return fmt.Sprint(s.Objects) }),
				out.Num("TO DELETE", func(s stats) string { return out.Bytes(s.GarbageBytes) }),
				out.Col("LOCKED", func(s stats) string { return lockedText(s.Stats) }),
				out.Num("DAMAGED", func(s stats) string { return fmt.Sprint(s.Damaged) }))
		},
	}
	f.add(cmd, true)
	return cmd
}

func (a *App) vaultCompactCommand() *cobra.Command {
	var f vaultFlags
	var keep string
	cmd := &cobra.Command{
		Use: "compact [--vault] DIR --keep TIERS", Short: "Drop recovery points that retention does not keep, and merge what is left",
		Long: `Drop the recovery points that the tiers do not keep, merge what is left so that any point opens quickly, and delete what was
replaced earlier. Without --keep nothing is dropped. The key is needed, and the
group must not be in the hands of a running controller.`,
		Example: `  understudy vault compact ./v --keep "all for 1h, 5m for 1d, 1h for 7d, 1d for 30d"`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.take(args)
			ctx := cmd.Context()
			var tiers []dr.Tier
			if keep != "" {
				var err error
				if tiers, err = dr.ParseTiers(keep); err != nil {
					return fmt.Errorf("--keep: %w", err)
				}
			}
			type result struct {
				Group        string `json:"group"`
				Points       int    `json:"points"`
				Dropped      int    `json:"dropped"`
				Merged       int    `json:"merged"`
				Deleted      int    `json:"deleted"`
				DeletedBytes int64  `json:"deletedBytes"`
				Waiting      int    `json:"waiting"`
				Failed       int    `json:"failed"`
			}
			var list []result
			err := a.eachGroup(ctx, f, func(v *keyring.Opened, group string) error {
				s, err := local.Compact(ctx, v, group, tiers)
				if err != nil {
					return err
				}
				list = append(list, result{group, s.Points, s.Dropped, s.Merged, s.Deleted, s.DeletedBytes, s.Waiting, s.Failed})
				return nil
			})
			if err != nil {
				return err
			}
			err = out.List(a.Printer, list, func(r result) string { return r.Group }, "nothing is in this vault yet",
				out.Col("GROUP", func(r result) string { return r.Group }),
				out.Num("POINTS LEFT", func(r result) string { return fmt.Sprint(r.Points) }),
				out.Num("DROPPED", func(r result) string { return fmt.Sprint(r.Dropped) }),
				out.Num("MERGED", func(r result) string { return fmt.Sprint(r.Merged) }),
				out.Num("FREED", func(r result) string { return out.Bytes(r.DeletedBytes) }),
				out.Num("OBJECTS TO DELETE LATER", func(r result) string { return fmt.Sprint(r.Waiting) }))
			for _, r := range list {
				if r.Failed > 0 {
					err = errors.Join(err, dr.WithHint(fmt.Errorf("compact %s: %s failed, and what they would replace stays", r.Group, out.Plural(r.Failed, "merge")),
						dr.KindCorrupt, "understudy vault verify"))
				}
			}
			return err
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&keep, "keep", "", `retention tiers, such as "all for 1h, 1h for 7d"`)
	return cmd
}

func (a *App) vaultAddCommand() *cobra.Command {
	var v wire.Vault
	var lock lockFlags
	cmd := &cobra.Command{
		Use: "add NAME DIR", Short: "Tell the controller of a vault; it is made where there is none", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			v.Name = args[0]
			if v.URL, err = registry.VaultURL(args[1]); err != nil {
				return err
			}
			if err := lock.set(&v); err != nil {
				return err
			}
			added, err := api.AddVault(cmd.Context(), v)
			if err != nil {
				return err
			}
			if added.NewKey {
				fmt.Fprintf(a.Err, "made the vault and its key:\n  %s\nWithout the key nothing can be recovered. KEEP A COPY of it on another machine.\n", added.KeyFile)
			}
			return a.printVault(added)
		},
	}
	cmd.Flags().StringVar(&v.KeyFile, "key", "", "the vault's key file, at the controller")
	lock.add(cmd)
	return cmd
}

func (a *App) printVault(v wire.Vault) error {
	return out.One(a.Printer, v, v.Name, out.Field{Title: "Name", Text: v.Name}, out.Field{Title: "URL", Text: v.URL},
		out.Field{Title: "ID", Text: v.ID}, out.Field{Title: "Key", Text: cmp.Or(v.KeyFile, "not here: points can be made but not read")})
}

func (a *App) vaultListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the controller's vaults", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListVaults(cmd.Context())
			if err != nil {
				return fmt.Errorf("list vaults: %w", err)
			}
			return out.List(a.Printer, list, func(v wire.Vault) string { return v.Name }, "no vaults yet: understudy vault add NAME DIR",
				out.Col("NAME", func(v wire.Vault) string { return v.Name }),
				out.Col("URL", func(v wire.Vault) string { return v.URL }),
				out.Col("KEY", func(v wire.Vault) string { return cmp.Or(v.KeyFile, "not here") }))
		},
	}
}

func (a *App) vaultRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Have the controller forget a vault; its data stays", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.RemoveVault(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("forgot vault %s; its data stays where it is", args[0])
			return nil
		},
	}
}

// take uses an argument as --vault.
func (f *vaultFlags) take(args []string) {
	if len(args) > 0 {
		f.vault = args[0]
	}
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
