package history

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"understudy/internal/store/sqlite"
)

// settled is how long after an hour its last batch has surely been written.
const settled = 2 * FlushEvery

const hour = int64(time.Hour / time.Second)

// gather gathers the hours that are over, and lets go of those that are too old. Doing it twice does no harm.
func (h *History) gather(ctx context.Context) error {
	for {
		more, err := h.gatherHour(ctx)
		if err != nil {
			return sqlite.Explain(fmt.Errorf("gather an hour: %w", err))
		}
		if !more {
			return nil
		}
	}
}

// gatherHour gathers the oldest hour that is over and was not gathered, and reports whether there was one.
func (h *History) gatherHour(ctx context.Context) (bool, error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	var until, first sql.NullInt64
	err := h.write.QueryRowContext(ctx, "SELECT (SELECT until FROM gathered), (SELECT MIN(at) FROM batches WHERE at > COALESCE((SELECT until FROM gathered), 0))").Scan(&until, &first)
	if err != nil || !first.Valid {
		return false, err
	}
	// A batch holds what happened before it was written.
	begin := max(until.Int64, (first.Int64-int64(FlushEvery/time.Second))/hour*hour)
	begin = begin / hour * hour
	if h.now().Unix() < begin+hour+int64(settled/time.Second) {
		return false, nil
	}
	worst, err := h.worst(ctx, begin)
	if err != nil {
		return false, err
	}
	tx, err := h.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // does nothing after the commit
	put, err := tx.PrepareContext(ctx, "INSERT INTO hours(hour, grp, data) VALUES(?, ?, ?) ON CONFLICT(hour, grp) DO UPDATE SET data = excluded.data")
	if err != nil {
		return false, err
	}
	defer put.Close()
	base := time.Unix(begin, 0)
	for group, list := range worst {
		if _, err := put.ExecContext(ctx, begin, group, encode(base, list)); err != nil {
			return false, err
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO gathered(one, until) VALUES(1, ?) ON CONFLICT(one) DO UPDATE SET until = excluded.until", begin+hour); err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM hours WHERE hour < ?", h.now().Add(-KeepWorst).Unix()-hour); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// worst is the worst of every step of an hour, by group.
func (h *History) worst(ctx context.Context, begin int64) (map[string][]Sample, error) {
	rows, err := h.read.QueryContext(ctx, "SELECT batch, grp, data FROM cycles WHERE batch >= ? AND batch <= ? ORDER BY batch", begin, begin+hour+int64(settled/time.Second))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	worst := map[string][]Sample{}
	for rows.Next() {
		var batch int64
		var group string
		var data []byte
		if err := rows.Scan(&batch, &group, &data); err != nil {
			return nil, err
		}
		list := worst[group]
		err := decode(time.Unix(batch, 0), data, func(s Sample) {
			at := s.Time.Unix()
			if at < begin || at >= begin+hour {
				return
			}
			s.Time = s.Time.Truncate(Step)
			if n := len(list); n > 0 && list[n-1].Time.Equal(s.Time) {
				list[n-1].add(s)
				return
			}
			list = append(list, s)
		})
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			worst[group] = list
		}
	}
	return worst, rows.Err()
}

// Query returns what the cycles of a group did from one instant to another, in at most so many buckets of equal length;
// those without a cycle are left out. The time of a bucket is where it begins.
func (h *History) Query(ctx context.Context, group string, from, to time.Time, points int) ([]Sample, error) {
	if points <= 0 || !from.Before(to) {
		return nil, nil
	}
	width := max(to.Sub(from)/time.Duration(points), time.Second)
	buckets := map[int64]*Sample{}
	add := func(s Sample) {
		if s.Time.Before(from) || !s.Time.Before(to) {
			return
		}
		i := int64(s.Time.Sub(from) / width)
		if b := buckets[i]; b != nil {
			b.add(s)
			return
		}
		s.Time = from.Add(time.Duration(i) * width)
		buckets[i] = &s
	}
	h.mu.Lock()
	pending, visible := h.pending[group], h.visible // of one instant: what is pending is in no batch up to visible
	h.mu.Unlock()
	for _, s := range pending {
		add(s)
	}
	if err := h.written(ctx, group, from, to, visible, add); err != nil {
		return nil, sqlite.Explain(fmt.Errorf("read history of %s: %w", group, err))
	}
	list := make([]Sample, 0, len(buckets))
	for _, b := range buckets {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Sample) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
	return list, nil
}

// written calls add for what is in the file, up to a batch: every cycle where they are kept, and the worst of hours
// before that.
func (h *History) written(ctx context.Context, group string, from, to time.Time, visible int64, add func(Sample)) error {
	tx, err := h.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one view of both tables
	if err != nil {
		return err
	}
	defer tx.Rollback() // it only reads
	// The first hour of which every cycle is there, unless the one before was not gathered: it is whole, too.
	var whole int64
	if err := tx.QueryRowContext(ctx, `SELECT MIN(COALESCE((SELECT until FROM gathered), 0),
		(COALESCE((SELECT MIN(at) FROM batches), ?1) + ?2 - 1) / ?2 * ?2)`, to.Unix(), hour).Scan(&whole); err != nil {
		return err
	}
	// A row is looked up for each hour and batch: they are kept in the order in which they are written.
	if first, end := from.Unix()/hour*hour, min(to.Unix(), whole); first < end {
		if err := each(ctx, tx, `WITH RECURSIVE n(h) AS (SELECT ?2 UNION ALL SELECT h + ?4 FROM n WHERE h + ?4 < ?3)
			SELECT hour, data FROM n CROSS JOIN hours ON hour = h AND grp = ?1`,
			func(s Sample) {
				if s.Time.Before(from) && s.Time.Add(Step).After(from) {
					s.Time = from // it is in part of the first step
				}
				add(s)
			}, group, first, end, hour); err != nil {
			return err
		}
	}
	return each(ctx, tx, `SELECT at, data FROM batches CROSS JOIN cycles ON batch = at AND grp = ?1 WHERE at >= ?2 AND at <= ?3`,
		func(s Sample) {
			if s.Time.Unix() >= whole {
				add(s)
			}
		}, group, max(from.Unix(), whole), min(to.Unix()+int64(settled/time.Second), visible))
}

func each(ctx context.Context, tx *sql.Tx, query string, add func(Sample), args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var base int64
		var data []byte
		if err := rows.Scan(&base, &data); err != nil {
			return err
		}
		if err := decode(time.Unix(base, 0), data, add); err != nil {
			return err
		}
	}
	return rows.Err()
}
