"""Pure decisions: no await, clock, dice, I/O, environment or logging below this line."""
