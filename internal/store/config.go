package store

import (
	"context"
	"database/sql"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// A Vault is where to find a vault and the key that opens it.
type Vault struct {
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`      // from its vault.json
	URL     string `json:"url"`               // such as file:///srv/vault
	KeyFile string `json:"keyFile,omitempty"` // age identity; empty when this controller cannot read
}

// noun is a kind of configuration that is one JSON document per name.
type noun[T any] struct {
	word, table, list string
	name              func(T) string
}

var (
	siteNoun   = noun[dr.Site]{"site", "sites", "understudy site list", func(v dr.Site) string { return v.Name }}
	vaultNoun  = noun[Vault]{"vault", "vaults", "understudy vault list", func(v Vault) string { return v.Name }}
	policyNoun = noun[dr.Policy]{"policy", "policies", "understudy policy list", func(v dr.Policy) string { return v.Name }}
)

func (n noun[T]) create(ctx context.Context, s *Store, v T) error {
	what := fmt.Sprintf("add %s %s", n.word, n.name(v))
	_, err := s.exec(ctx, what, "INSERT INTO "+n.table+"(name, doc) VALUES(?, ?)", n.name(v), encode(v))
	if _, unique := sqlite.Constraint(err); unique {
		return dr.WithHint(fmt.Errorf("%s: that name is taken", what), dr.KindConflict, n.list)
	}
	return err
}

func (n noun[T]) put(ctx context.Context, s *Store, v T) error {
	_, err := s.exec(ctx, fmt.Sprintf("save %s %s", n.word, n.name(v)),
		"INSERT INTO "+n.table+"(name, doc) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", n.name(v), encode(v))
	return err
}

func (n noun[T]) get(ctx context.Context, s *Store, name string) (T, error) {
	list, err := queryDocs[T](ctx, s.read, "read "+n.word+" "+name, "SELECT doc FROM "+n.table+" WHERE name = ?", name)
	return one(list, err, n.word, name, n.list)
}

func (n noun[T]) all(ctx context.Context, s *Store) ([]T, error) {
	return queryDocs[T](ctx, s.read, "read "+n.table, "SELECT doc FROM "+n.table+" ORDER BY name")
}

func (n noun[T]) delete(ctx context.Context, s *Store, name string) error {
	what := fmt.Sprintf("remove %s %s", n.word, name)
	rows, err := s.exec(ctx, what, "DELETE FROM "+n.table+" WHERE name = ?", name)
	if foreign, _ := sqlite.Constraint(err); foreign {
		return dr.WithHint(fmt.Errorf("%s: a group uses it", what), dr.KindConflict, "see `understudy status` for the groups that use it")
	}
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no %s named %q", n.word, name), dr.KindNotFound, n.list)
	}
	return err
}

// CreateSite adds a site; dr.KindConflict when the name is taken.
func (s *Store) CreateSite(ctx context.Context, v dr.Site) error { return siteNoun.create(ctx, s, v) }

// PutSite adds a site or replaces it.
func (s *Store) PutSite(ctx context.Context, v dr.Site) error { return siteNoun.put(ctx, s, v) }

// Site returns a site by name.
func (s *Store) Site(ctx context.Context, name string) (dr.Site, error) {
	return siteNoun.get(ctx, s, name)
}

// Sites returns all sites by name.
func (s *Store) Sites(ctx context.Context) ([]dr.Site, error) { return siteNoun.all(ctx, s) }

// DeleteSite removes a site; dr.KindConflict when a group uses it.
func (s *Store) DeleteSite(ctx context.Context, name string) error {
	return siteNoun.delete(ctx, s, name)
}

// CreateVault adds a vault; dr.KindConflict when the name is taken.
func (s *Store) CreateVault(ctx context.Context, v Vault) error { return vaultNoun.create(ctx, s, v) }

// PutVault adds a vault or replaces it.
func (s *Store) PutVault(ctx context.Context, v Vault) error { return vaultNoun.put(ctx, s, v) }

// Vault returns a vault by name.
func (s *Store) Vault(ctx context.Context, name string) (Vault, error) {
	return vaultNoun.get(ctx, s, name)
}

// Vaults returns all vaults by name.
func (s *Store) Vaults(ctx context.Context) ([]Vault, error) { return vaultNoun.all(ctx, s) }

// DeleteVault forgets a vault; its data stays. dr.KindConflict when a group uses it.
func (s *Store) DeleteVault(ctx context.Context, name string) error {
	return vaultNoun.delete(ctx, s, name)
}

// CreatePolicy adds a policy; dr.KindConflict when the name is taken.
func (s *Store) CreatePolicy(ctx context.Context, v dr.Policy) error {
	return policyNoun.create(ctx, s, v)
}

// PutPolicy adds a policy or replaces it.
func (s *Store) PutPolicy(ctx context.Context, v dr.Policy) error { return policyNoun.put(ctx, s, v) }

// Policy returns a policy by name.
func (s *Store) Policy(ctx context.Context, name string) (dr.Policy, error) {
	return policyNoun.get(ctx, s, name)
}

// Policies returns all policies by name.
func (s *Store) Policies(ctx context.Context) ([]dr.Policy, error) { return policyNoun.all(ctx, s) }

// DeletePolicy removes a policy; dr.KindConflict when a group uses it.
func (s *Store) DeletePolicy(ctx context.Context, name string) error {
	return policyNoun.delete(ctx, s, name)
}

// CreateGroup adds a group; dr.KindConflict when its name is taken or a machine is in another group,
// dr.KindNotFound when its site, target, vault or policy does not exist.
func (s *Store) CreateGroup(ctx context.Context, g dr.Group) error {
	return s.tx(ctx, "protect "+g.Name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO groups(name, site, target, vault, policy, doc) VALUES(?, ?, NULLIF(?, ''), ?, ?, ?)",
			g.Name, g.Site, g.Target, g.Vault, g.Policy, encode(g))
		if _, unique := sqlite.Constraint(err); unique {
			return dr.WithHint(fmt.Errorf("group %s exists", g.Name), dr.KindConflict, "choose another name, or `understudy status "+g.Name+"`")
		}
		return groupRows(ctx, tx, g, err)
	})
}

// PutGroup adds a group or replaces it. Errors are those of CreateGroup, but for the name.
func (s *Store) PutGroup(ctx context.Context, g dr.Group) error {
	return s.tx(ctx, "save group "+g.Name, func(tx *sql.Tx) error { return putGroup(ctx, tx, g) })
}

func putGroup(ctx context.Context, tx *sql.Tx, g dr.Group) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO groups(name, site, target, vault, policy, doc) VALUES(?, ?, NULLIF(?, ''), ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET site = excluded.site, target = excluded.target, vault = excluded.vault,
		policy = excluded.policy, doc = excluded.doc`, g.Name, g.Site, g.Target, g.Vault, g.Policy, encode(g))
	return groupRows(ctx, tx, g, err)
}

// groupRows explains err of a group's row and writes the rows that belong to it.
func groupRows(ctx context.Context, tx *sql.Tx, g dr.Group, err error) error {
	if foreign, _ := sqlite.Constraint(err); foreign {
		return dr.WithHint(fmt.Errorf("no such site, vault or policy (site %q, target %q, vault %q, policy %q)", g.Site, g.Target, g.Vault, g.Policy),
			dr.KindNotFound, "see `understudy site list`, `understudy vault list` and `understudy policy list`")
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM group_machines WHERE grp = ?", g.Name); err != nil {
		return err
	}
	for _, m := range g.Machines {
		var other string
		err := tx.QueryRowContext(ctx, "SELECT grp FROM group_machines WHERE site = ? AND machine = ?", g.Site, m.Name).Scan(&other)
		switch {
		case err == nil && other == g.Name:
			return dr.WithHint(fmt.Errorf("machine %s is named twice", m.Name), dr.KindInvalid, "name each machine once")
		case err == nil:
			return dr.WithHint(fmt.Errorf("machine %s of site %s is already in group %s", m.Name, g.Site, other), dr.KindConflict,
				"a machine is in one group at most: take it out of "+other+" first")
		case err != sql.ErrNoRows:
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO group_machines(grp, site, machine) VALUES(?, ?, ?)", g.Name, g.Site, m.Name); err != nil {
			return err
		}
	}
	return nil
}

// ChangeGroup replaces a group by what change makes of it, in one transaction.
func (s *Store) ChangeGroup(ctx context.Context, name string, change func(*dr.Group) error) error {
	return s.tx(ctx, "change group "+name, func(tx *sql.Tx) error {
		g, err := groupTx(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := change(&g); err != nil {
			return err
		}
		return putGroup(ctx, tx, g)
	})
}

func groupTx(ctx context.Context, tx *sql.Tx, name string) (dr.Group, error) {
	return docTx[dr.Group](ctx, tx, "group", name, "SELECT doc FROM groups WHERE name = ?", name)
}

// Group returns a group by name.
func (s *Store) Group(ctx context.Context, name string) (dr.Group, error) {
	list, err := queryDocs[dr.Group](ctx, s.read, "read group "+name, "SELECT doc FROM groups WHERE name = ?", name)
	return one(list, err, "group", name, "understudy status")
}

// Groups returns all groups by name.
func (s *Store) Groups(ctx context.Context) ([]dr.Group, error) {
	return queryDocs[dr.Group](ctx, s.read, "read groups", "SELECT doc FROM groups ORDER BY name")
}

// DeleteGroup removes a group with its status; its runs and events stay, and so do its recovery points.
// dr.KindConflict while a run of it is active or exports of it are served.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return s.tx(ctx, "remove group "+name, func(tx *sql.Tx) error {
		var run string
		err := tx.QueryRowContext(ctx, "SELECT id FROM runs WHERE grp = ? AND ended = 0 UNION SELECT run FROM exports WHERE grp = ? LIMIT 1", name, name).Scan(&run)
		if err == nil {
			return dr.WithHint(fmt.Errorf("run %s uses it", run), dr.KindConflict, "understudy run cancel "+run+", then understudy cleanup "+name)
		}
		if err != sql.ErrNoRows {
			return err
		}
		r, err := tx.ExecContext(ctx, "DELETE FROM groups WHERE name = ?", name)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return dr.WithHint(fmt.Errorf("no group named %q", name), dr.KindNotFound, "understudy status")
	})
}
