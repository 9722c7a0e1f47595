"""What a delivery's count of deaths means: how many worker processes died that had it in work.

Once can be chance. From SUSPECT on, it is attempted in a process that does nothing else, in a group that gets smaller
with each death; from ALONE on, alone. What a process was handling when it died is tried alone at once. At MOST it ends.
A result sets the count back to 0.
"""

SUSPECT, ALONE, MOST = 2, 5, 7
GROUPS = {2: 64, 3: 16, 4: 4}  # how many suspects are attempted together, by their count
