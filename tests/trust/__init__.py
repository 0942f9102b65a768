"""What can go wrong at run time, measured: functions of these modules give figures, asserted by tests and reported."""
