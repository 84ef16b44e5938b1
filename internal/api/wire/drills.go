package wire

import "time"

// DrillRequest asks for a drill now.
type DrillRequest struct {
	Point string `json:"point,omitempty" doc:"latest, an ID or a time; by default latest"`
	Plan  string `json:"plan,omitempty" doc:"Recovery plan; by default the group's own order"`
	Keep  bool   `json:"keep,omitempty" doc:"Leave the machines when the drill fails, to look at them"`
}

// DrillSchedule says when a group is rehearsed.
type DrillSchedule struct {
	Cron         string   `json:"cron" minLength:"1" maxLength:"200" example:"0 3 * * 1" doc:"Minute, hour, day of month, month, day of week; or @daily, @weekly, @monthly"`
	TZ           string   `json:"tz,omitempty" example:"Europe/Paris" doc:"Time zone of the IANA database; by default UTC"`
	Plan         string   `json:"plan,omitempty"`
	Keep         bool     `json:"keep,omitempty" doc:"Leave the machines of a drill that failed"`
	Window       Duration `json:"window,omitempty" example:"4h" doc:"How late a drill may begin that could not begin on time; by default 4h"`
	OverdueAfter Duration `json:"overdueAfter,omitempty" example:"8d" doc:"Age of the last proof from which a drill is overdue; by default the longest time between two, and the window"`
}

// Drill is how a group stands with its rehearsals.
type Drill struct {
	Group    string         `json:"group"`
	Schedule *DrillSchedule `json:"schedule,omitempty" doc:"Left out when there is none"`
	By       string         `json:"by,omitempty" doc:"Who set the schedule"`
	Upcoming []time.Time    `json:"upcoming,omitempty" doc:"The next due times"`
	LastDue  *time.Time     `json:"lastDue,omitempty" doc:"Of the last drill of the schedule that was begun or missed"`
	Problem  string         `json:"problem,omitempty" doc:"Why the last one could not begin"`
	Hint     string         `json:"hint,omitempty"`

	Overdue        bool     `json:"overdue"`
	OverdueSeconds *float64 `json:"overdueSeconds,omitempty" doc:"How old the proof is, or the schedule when there is none"`
	LimitSeconds   *float64 `json:"limitSeconds,omitempty" doc:"Age of the proof from which a drill is overdue"`

	ProvenAt    *time.Time `json:"provenAt,omitempty" doc:"When a drill or test failover last proved that the group boots"`
	ProvenRun   string     `json:"provenRun,omitempty"`
	ProvenPoint string     `json:"provenPoint,omitempty"`
	ProvenRTO   *float64   `json:"provenRTOSeconds,omitempty"`

	Last *Run `json:"last,omitempty" doc:"The newest drill"`
}
