# Licensed under a 3-clause BSD style license - see LICENSE
"""
Signals that end a training between two steps, so that its state can be saved.
"""

import os
import signal
import threading

__all__ = ['Interruption', 'TrainingInterrupted']

_SIGNALS = signal.SIGINT, signal.SIGTERM   # Ctrl-C, and the end that batch systems announce


class TrainingInterrupted(KeyboardInterrupt):
    """
    A signal ended the training; its state is in the checkpoint.

    Parameters
    ----------
    signal_number : int
        The signal.
    step : int
        Steps that were taken.
    checkpoint : path
        The file.
    """

    def __init__(self, signal_number, step, checkpoint):
        self.signal_number, self.step, self.checkpoint = signal_number, step, os.fspath(checkpoint)
        super().__init__(f'training was interrupted ({signal.Signals(signal_number).name}) after step {step}; its '
                         f'state is in {self.checkpoint}, from which the same call resumes it')


class Interruption:
    """
    Notes signals that end a process, instead of ending it at once.

    A second signal ends it as ever, unless ``patient``. Signals reach the main thread of Python only; in another one
    nothing is changed.

    Parameters
    ----------
    enabled : bool, optional
        If false, nothing is changed.
    patient : bool, optional
        If true, later signals are noted, too. Processes of torchrun get a signal of the terminal twice, as torchrun
        passes it on; those that do not end are killed after half a minute.

    Attributes
    ----------
    signal : int
        The signal that came, or 0.

    Examples
    --------
    >>> import os, signal
    >>> from astropy_n2v.training.interruption import Interruption
    >>> with Interruption() as interruption:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     interruption.signal == signal.SIGTERM
    True
    """

    def __init__(self, enabled=True, patient=False):
        self.enabled = enabled and threading.current_thread() is threading.main_thread()
        self.patient = patient
        self.signal = 0
        self._before = {}

    def __enter__(self):
        if self.enabled:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            # None: a handler that was not set by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number, frame):
        self.signal = int(number)
        if not self.patient:
            self.__exit__()
