package wire

// Hooks are commands in the guest around the freezing of its file systems: a program and its arguments.
type Hooks struct {
	Before []string `json:"before,omitempty" doc:"Prepares the applications; exits with 0 when they are ready"`
	After  []string `json:"after,omitempty" doc:"Lets them go on, also when before failed; it may run more than once"`
}

// PointName gives a recovery point a name.
type PointName struct {
	Name string `json:"name" minLength:"1" maxLength:"63" example:"before-upgrade"`
}
