package store

import (
	"context"
	"database/sql"
	"time"

	"understudy/internal/dr"
)

// An Original is a machine that is held at a site its group left, and what its disks are known to hold: the way back
// needs only what differs.
type Original struct {
	Site    string `json:"site"`
	Machine string `json:"machine"`
	Group   string `json:"group"`
	// Base is the recovery point that the disks are exactly at; empty when that is not known.
	Base string `json:"base,omitempty"`
	// Toward are points that writing from Base on was begun for and not ended: what differs between Base and any of them
	// may hold anything.
	Toward []string `json:"toward,omitempty"`
	// Preserved says that the site was asked to keep the content from before the first write, which was at Kept.
	Preserved bool      `json:"preserved,omitempty"`
	Kept      string    `json:"kept,omitempty"`
	Updated   time.Time `json:"updated,omitzero"`
}

// ChangeOriginal creates or changes what is known of an original in one transaction. It returns the result.
func (s *Store) ChangeOriginal(ctx context.Context, siteName, machine string, change func(*Original) error) (Original, error) {
	var o Original
	err := s.tx(ctx, "save original "+siteName+"/"+machine, func(tx *sql.Tx) (err error) {
		o, err = docTx[Original](ctx, tx, "original", machine, "SELECT doc FROM originals WHERE site = ? AND machine = ?", siteName, machine)
		if err != nil && dr.KindOf(err) != dr.KindNotFound {
			return err
		}
		o.Site, o.Machine = siteName, machine
		if err := change(&o); err != nil {
			return err
		}
		o.Updated = s.now().UTC()
		_, err = tx.ExecContext(ctx, `INSERT INTO originals(site, machine, grp, doc) VALUES(?, ?, ?, ?)
			ON CONFLICT(site, machine) DO UPDATE SET grp = excluded.grp, doc = excluded.doc`, o.Site, o.Machine, o.Group, encode(o))
		return err
	})
	return o, err
}

// Originals returns the originals of a group, or all when group is empty.
func (s *Store) Originals(ctx context.Context, group string) ([]Original, error) {
	return queryDocs[Original](ctx, s.read, "read originals", "SELECT doc FROM originals WHERE ?1 = '' OR grp = ?1 ORDER BY site, machine", group)
}

// Original returns what is known of a machine at a site, and whether it is an original.
func (s *Store) Original(ctx context.Context, siteName, machine string) (Original, bool, error) {
	list, err := queryDocs[Original](ctx, s.read, "read original "+siteName+"/"+machine, "SELECT doc FROM originals WHERE site = ? AND machine = ?", siteName, machine)
	if err != nil || len(list) == 0 {
		return Original{}, false, err
	}
	return list[0], true, nil
}

// DeleteOriginal forgets an original.
func (s *Store) DeleteOriginal(ctx context.Context, siteName, machine string) error {
	_, err := s.exec(ctx, "forget original "+siteName+"/"+machine, "DELETE FROM originals WHERE site = ? AND machine = ?", siteName, machine)
	return err
}

// Fence returns the fence of a machine at a site, and whether there is one.
func (s *Store) Fence(ctx context.Context, siteName, machine string) (Fence, bool, error) {
	list, err := queryDocs[Fence](ctx, s.read, "read fence of "+siteName+"/"+machine, "SELECT doc FROM fences WHERE site = ? AND machine = ?", siteName, machine)
	if err != nil || len(list) == 0 {
		return Fence{}, false, err
	}
	return list[0], true, nil
}

// DeleteFence forgets the fence of a machine at a site.
func (s *Store) DeleteFence(ctx context.Context, siteName, machine string) error {
	_, err := s.exec(ctx, "forget fence of "+siteName+"/"+machine, "DELETE FROM fences WHERE site = ? AND machine = ?", siteName, machine)
	return err
}
